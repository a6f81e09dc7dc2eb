"""`novapulse mail …`: messages that wait in the spool."""

from typing import TYPE_CHECKING

import click

from novapulse.cli.listing import as_json_option, print_document, print_table
from novapulse.cli.options import Location, location_options

if TYPE_CHECKING:
    from novapulse.mail.spool import Spool


@click.group()
def mail() -> None:
    """Messages in the spool, where they go while no mail server is set."""


@mail.command(name="list")
@as_json_option
@location_options
def list_messages(location: Location, as_json: bool) -> None:
    """List the spooled messages, newest first."""
    messages = _spool(location).list()
    if as_json:
        print_document({"messages": messages})
        return
    print_table(
        ("id", "at", "to", "subject"), [(one.id, one.at, one.to, one.subject) for one in messages]
    )


@mail.command()
@click.argument("message_id")
@location_options
def show(location: Location, message_id: str) -> None:
    """Print one message as it would be sent."""
    click.echo(_spool(location).read(message_id), nl=False)


def _spool(location: Location) -> "Spool":
    from novapulse.mail.spool import Spool
    from novapulse.processes import places

    return Spool(places.mail_spool(location.load()))
