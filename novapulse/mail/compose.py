"""From a message to a mail as it is sent: headers, text and HTML.

No header takes a line break, whatever the data: subjects of templates are
brought onto one line, given ones were refused when they were enqueued, and
Python's mail package refuses what is left.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novapulse.core.clock import rfc3339
from novapulse.core.errors import Invalid
from novapulse.mail.model import Message

if TYPE_CHECKING:
    from jinja2 import Environment

_DIRECTORY = Path(__file__).with_name("templates")
_NOBODY = "novapulse@localhost"
_PRODUCT = "NovaPulse"
_LONGEST_SUBJECT = 300
# Long links stay whole; headers are folded when the mail is written out.
_POLICY = SMTP.clone(max_line_length=998)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPED = re.compile(r"\\(.)")
_DOMAIN = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?Z")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who mails come from; `name` is shown where the message belongs to no company."""

    address: str = _NOBODY
    name: str = _PRODUCT

    @classmethod
    def parse(cls, mailbox: str) -> "Sender":
        """Of `mail.from`; empty means what a spooled message shows."""
        name, address = parseaddr(mailbox)
        return cls(address or _NOBODY, name or _PRODUCT)

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


def compose(message: Message, sender: Sender, company_name: str | None = None) -> EmailMessage:
    """The whole mail; its Message-ID is the job's id, and so the same at every attempt.

    Raises Invalid for an address that no mail can go to, and jinja2's
    UndefinedError for data that a template misses.
    """
    display_name = one_line(company_name or "") or sender.name
    mail = EmailMessage(policy=_POLICY)
    subject, text, html = _content(message, display_name)
    mail["From"] = Address(display_name=display_name, addr_spec=sender.address)
    mail["To"] = recipient(message.to)
    mail["Subject"] = subject
    mail["Date"] = format_datetime(message.created_at)
    mail["Message-ID"] = f"<{message.id}@{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-NovaPulse-At"] = rfc3339(message.created_at)
    if message.template is not None:
        mail["X-NovaPulse-Template"] = message.template
    mail.set_content(text)
    if html is not None:
        mail.add_alternative(html, subtype="html")
    return mail


def one_line(text: str) -> str:
    """Without line breaks of any kind and without control characters."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def recipient(to: str) -> Address:
    """The address as header and envelope take it: an odd local part quoted, the domain in ASCII.

    Raises Invalid for a domain that is none.
    """
    local, _, domain = to.rpartition("@")
    if _QUOTED.fullmatch(local):
        local = _ESCAPED.sub(r"\1", local[1:-1])
    with suppress(UnicodeError):
        domain = domain.encode("idna").decode()
    if not _DOMAIN.fullmatch(domain):
        raise Invalid.field("to", f"{to!r} is no address that mails can be sent to")
    return Address(username=local, domain=domain)


def _content(message: Message, display_name: str) -> tuple[str, str, str | None]:
    """Subject, text and HTML."""
    if message.template is None:
        return message.subject or "", message.text or "", message.html
    given = {**message.data, "displayName": display_name}
    template = templates().get_template(f"{message.template}.txt")
    subject = one_line("".join(template.blocks["subject"](template.new_context(given))))
    subject = subject[:_LONGEST_SUBJECT]
    text = re.sub(r"\n{3,}", "\n\n", template.render(given)).strip() + "\n"
    html = templates().get_template(f"{message.template}.html")
    return subject, text, html.render({**given, "subject": subject})


@cache
def templates() -> "Environment":
    """The templates of this package; loaded by who sends mails, not by who enqueues them."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(_DIRECTORY),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = _moment
    environment.filters["words"] = _words
    return environment


def _moment(value: Any) -> str:
    """A time for people: `2026-11-23 15:18 UTC`."""
    if isinstance(value, datetime):
        value = rfc3339(value.astimezone(UTC))
    found = _MOMENT.fullmatch(str(value))
    return f"{found[1]} {found[2]} UTC" if found else str(value)


def _words(value: Any) -> str:
    """`company_admin` as people say it."""
    return str(value).replace("_", " ")
