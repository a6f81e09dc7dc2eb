"""`novapulse run`."""

import sys

import click

from novapulse.cli.options import Location, location_options


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Listen there instead of [server] listen.")
@location_options
def run(location: Location, listen: str | None) -> None:
    """Run the appliance in the foreground: stores, consumers, scheduler and API."""
    from novapulse.processes import appliance

    overrides = {"server.listen": listen} if listen else {}
    code = appliance.run(
        lambda: location.load(overrides), files_below=location.root, say=click.echo
    )
    sys.exit(code)
