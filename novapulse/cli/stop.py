"""`novapulse stop`."""

import click

from novapulse.cli.options import Location, location_options


@click.command()
@location_options
def stop(location: Location) -> None:
    """Stop the running appliance in order and wait for its end; exit 69 when none runs."""
    from novapulse.core.errors import Unavailable
    from novapulse.processes import places
    from supervisor.control import ControlClient, ControlError

    try:
        ControlClient(places.control_socket(location.paths().run)).stop()
    except ControlError as error:
        raise Unavailable(f"No running appliance answers: {error}") from error
