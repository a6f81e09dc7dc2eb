"""`novapulse metrics`."""

import click

from novapulse.cli.options import Location, location_options
from novapulse.cli.remote import NotRunning


@click.command()
@location_options
def metrics(location: Location) -> None:
    """Print what a scrape of this appliance would get, also while no API process lives."""
    from novapulse.core.errors import Unavailable
    from novapulse.core.telemetry import scrape
    from novapulse.processes.status import ask_supervisor

    paths = location.paths()
    try:
        ask_supervisor(paths)
    except Unavailable as error:
        raise NotRunning(error.detail, location) from error
    click.echo(scrape.text(paths.run / "metrics"), nl=False)
