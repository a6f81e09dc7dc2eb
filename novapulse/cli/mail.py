"""`novapulse mail …`: a test message, the spool, and addresses that are not written to."""

from typing import TYPE_CHECKING

import click

from novapulse.cli.listing import as_json_option, print_document, print_rows, print_table
from novapulse.cli.options import Location, location_options

if TYPE_CHECKING:
    from email.message import EmailMessage

    from novapulse.mail.smtp import SmtpServer
    from novapulse.mail.spool import Spool

_TEST = {
    "title": "NovaPulse can send mail",
    "text": "This is a test message. Whoever looks after NovaPulse here asked for it.",
}


@click.group()
def mail() -> None:
    """Mail: try the server, read the spool, look after suppressed addresses."""


@mail.command()
@click.argument("address")
@location_options
def test(location: Location, address: str) -> None:
    """Send a test message now, and say what the mail server answers."""
    from novapulse.core.clock import system_clock
    from novapulse.core.ids import new_id
    from novapulse.mail.compose import compose, recipient
    from novapulse.mail.model import Message
    from novapulse.processes import mailing

    mailer = mailing.mailer(location.load())
    message = Message(
        id=new_id("job"),
        to=address,
        created_at=system_clock(),
        template="system_alert",
        data=_TEST,
    )
    composed = compose(message, mailer.sender)
    if mailer.server is None:
        mailer.put(message.id, composed)
        click.echo(f"no mail server is set: spooled as {message.id}")
        return
    to = recipient(address).addr_spec
    import asyncio

    answer = asyncio.run(_hand_over(mailer.server, composed, to))
    click.echo(f"{mailer.server.place} took it: {answer}")


async def _hand_over(server: "SmtpServer", composed: "EmailMessage", to: str) -> str:
    from novapulse.core.errors import Unavailable
    from novapulse.mail.refusals import Deferred, Refused

    try:
        return await server.send(composed, to)
    except Deferred as error:
        raise Unavailable(f"Not sent: {error}") from error
    except Refused as error:
        click.echo(f"refused: {error}", err=True)
        raise SystemExit(1) from error
    finally:
        await server.aclose()


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
@as_json_option
@location_options
def show(location: Location, message_id: str, as_json: bool) -> None:
    """Print one message as it would be sent."""
    text = _spool(location).read(message_id)
    if as_json:
        print_document({"id": message_id, "message": text})
    else:
        click.echo(text, nl=False)


@mail.group()
def suppressions() -> None:
    """Addresses that a mail server refused for good; nothing is sent to them."""


@suppressions.command(name="list")
@as_json_option
@location_options
def list_suppressions(location: Location, as_json: bool) -> None:
    """List the suppressed addresses with what the server said, newest first."""
    from functools import partial

    from novapulse.cli.session import every_page, with_context
    from novapulse.mail import service
    from novapulse.mail.model import SuppressionQuery

    query = SuppressionQuery(limit=200)
    rows = with_context(location, partial(every_page, service.list_suppressions, query=query))
    columns = ("address", "createdAt", "jobId", "reason")
    print_rows("suppressions", rows, columns=columns, as_json=as_json)


@suppressions.command()
@click.argument("addresses", nargs=-1, required=True)
@location_options
def remove(location: Location, addresses: tuple[str, ...]) -> None:
    """Send mails to these addresses again."""
    from functools import partial

    from novapulse.cli.session import with_context
    from novapulse.mail import service

    for address in addresses:
        remove_one = partial(service.remove_suppression, address=address)
        removed = with_context(location, remove_one)
        click.echo(f"{removed.address} is written to again")


def _spool(location: Location) -> "Spool":
    from novapulse.mail.spool import Spool
    from novapulse.processes import places

    return Spool(places.mail_spool(location.load()))
