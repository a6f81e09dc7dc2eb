"""`novapulse support bundle`."""

from pathlib import Path

import click

from novapulse.cli.options import Location, location_options
from novapulse.cli.talk import say


@click.group()
def support() -> None:
    """What helps others to help you."""


@support.command()
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to; by default novapulse-support-TIME.tar.gz in this directory.",
)
@location_options
def bundle(location: Location, output: Path | None) -> None:
    """Collect settings, status, findings and last log lines into one file, without secrets.

    Works also when the program does not run, or its configuration is broken.
    """
    from novapulse.processes.support_bundle import write_bundle

    path = write_bundle(location.load, location.paths(), output)
    click.echo(path)
    say("passwords, keys and tokens are left out; look through it before you send it")
