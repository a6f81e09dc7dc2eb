"""Destructive verbs ask: a person on a terminal, a script by `--yes`; `--dry-run` only counts."""

import sys
from collections.abc import Callable
from typing import Any

import click


def destructive_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb `--dry-run` and `--yes`; it receives `dry_run` and `yes`."""
    command = click.option("--dry-run", is_flag=True, help="Only say how much it would touch.")(
        command
    )
    return click.option("--yes", is_flag=True, help="Do not ask.")(command)


def may_go_on(what: str, *, yes: bool) -> None:
    """Return if it may be done; ends with exit code 2 where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"this would {what}; say --yes, or look first with --dry-run")
    click.confirm(f"Really {what}?", abort=True)
