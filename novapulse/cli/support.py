"""`novapulse support bundle`."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from novapulse.cli.options import Location, location_options
from novapulse.cli.talk import say

if TYPE_CHECKING:
    from novapulse.processes.support_bundle import Bundle


@click.group()
def support() -> None:
    """What helps others to help you."""


def _output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb `--output`; it receives the open file as `new: Bundle`.

    It is made before `location_options` has root become the program's user, who can not
    write where root is.
    """

    @click.option(
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Where to; by default novapulse-support-TIME.tar.gz in this directory.",
    )
    @wraps(command)
    def with_bundle(*args: Any, output: Path | None, **kwargs: Any) -> Any:
        from novapulse.processes.support_bundle import new_bundle

        with new_bundle(output) as new:
            return command(*args, new=new, **kwargs)

    return with_bundle


@support.command()
@_output_option
@location_options
def bundle(location: Location, new: "Bundle") -> None:
    """Collect settings, status, findings and last log lines into one file, without secrets.

    Works also when the program does not run, or its configuration is broken.
    """
    from novapulse.processes.support_bundle import write_bundle

    write_bundle(location.load, location.paths(), new)
    click.echo(new.path)
    say("passwords, keys and tokens are left out; look through it before you send it")
