"""What the program says besides its result: on stderr, more or less of it."""

from collections.abc import Callable
from typing import Any

import click


class _Manner:
    is_quiet = False
    is_verbose = False


manner = _Manner()


def say(text: str) -> None:
    """A line about what is being done."""
    if not manner.is_quiet:
        click.echo(text, err=True)


def _be_quiet(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    manner.is_quiet = manner.is_quiet or value


def _be_verbose(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    manner.is_verbose = manner.is_verbose or value


def talk_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb `-q` and `-v`."""
    quiet = click.option(
        *("-q", "--quiet"),
        is_flag=True,
        expose_value=False,
        callback=_be_quiet,
        help="Say nothing but the result and errors.",
    )
    verbose = click.option(
        *("-v", "--verbose"),
        is_flag=True,
        expose_value=False,
        callback=_be_verbose,
        help="Show where in the program a bug is.",
    )
    return quiet(verbose(command))
