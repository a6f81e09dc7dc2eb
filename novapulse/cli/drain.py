"""`novapulse drain`."""

import click

from novapulse.cli.listing import as_json_option, print_document
from novapulse.cli.options import Location, location_options
from novapulse.cli.remote import ask
from novapulse.cli.talk import say


@click.command()
@click.option("--undo", is_flag=True, help="Put it back into service.")
@as_json_option
@location_options
def drain(location: Location, undo: bool, as_json: bool) -> None:
    """Take this appliance out of service while it keeps running.

    The readiness check answers 503, so that a load balancer sends nobody here any more;
    who comes nevertheless is answered, and asked to close the connection. Consumers finish
    their jobs and take no new ones. Lasts until --undo or the next start.
    """
    answer = ask(location, "drain", progress=say, undo=undo)
    if as_json:
        print_document(answer)
