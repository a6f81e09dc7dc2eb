"""`novapulse restart`."""

import click

from novapulse.cli.listing import as_json_option, print_document
from novapulse.cli.options import Location, location_options
from novapulse.cli.remote import ask
from novapulse.cli.talk import say


@click.command()
@click.argument("name", metavar="[NAME|ROLE]", required=False)
@as_json_option
@location_options
def restart(location: Location, name: str | None, as_json: bool) -> None:
    """Replace processes one after the other, each by one that is ready, and wait for the end.

    Without a name: API processes, consumers and the scheduler. A store (redis, mongod) is
    stopped before it starts again. What does not get ready is given up and the old one stays.
    """
    answer = ask(location, "restart", progress=say, target=name)
    if as_json:
        print_document(answer)
