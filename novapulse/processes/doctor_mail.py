"""What the doctor looks at of mail: the server up to the sign-in, without sending anything."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.settings import Loaded
from novapulse.mail.refusals import Deferred, Refused
from novapulse.processes import mailing
from novapulse.processes.finding import Finding, bad, ok, skipped, warn

if TYPE_CHECKING:
    from novapulse.mail.smtp import SmtpServer

_NAME = "mail server"


def server(loaded: Loaded) -> Iterator[Finding]:
    """Whether it answers, encrypts and lets us in."""
    settings = loaded.settings.mail
    try:
        found = mailing.smtp_server(loaded)
    except ConfigurationInvalid as error:
        yield bad(_NAME, error.detail, cause=error.where, fix=error.hint or "correct the file")
        return
    if found is None:
        yield skipped(_NAME, "not configured: mails go to the spool")
        return
    yield asyncio.run(_examine(found))
    if settings.security == "none" and settings.user:
        cause = "everybody on the way can read it"
        fix = 'mail.security = "starttls" or "tls"'
        yield warn(_NAME, "the password is sent without encryption", cause=cause, fix=fix)


async def _examine(server: "SmtpServer") -> Finding:
    try:
        return ok(_NAME, await server.check())
    except Refused as error:
        fix = "correct mail.user and the password file, or ask who runs the server"
        return bad(_NAME, f"{server.place} refuses us", cause=str(error), fix=fix)
    except Deferred as error:
        fix = "correct mail.host, mail.port and mail.security, or open the way in the firewall"
        return bad(_NAME, f"{server.place} can not be used", cause=str(error), fix=fix)
    finally:
        await server.aclose()
