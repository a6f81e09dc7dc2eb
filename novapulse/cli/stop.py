"""`novapulse stop`."""

import click

from novapulse.cli.options import Location, location_options


@click.command()
@location_options
def stop(location: Location) -> None:
    """Stop the running appliance in order and wait for its end; exit 69 when none runs."""
    from novapulse.cli.remote import NotRunning, control_client
    from supervisor.control import ControlError

    try:
        control_client(location).stop()
    except ControlError as error:
        raise NotRunning(f"No running appliance answers: {error}", location) from error
