"""Sections whose feature is still to come: their keys are checked and change nothing yet."""

import re
from typing import Annotated, Literal

import msgspec

from novapulse.core.settings.addresses import check_http_url
from novapulse.core.settings.declare import Key, Reload, Section
from novapulse.core.settings.paths import check_path

_MAILBOX = re.compile(r"[^@\s<>]+@[^@\s<>]+|[^<>]*<[^@\s<>]+@[^@\s<>]+>")


def check_mailbox(text: str) -> str:
    """Nothing, `nova@example.com` or `NovaPulse <nova@example.com>`."""
    if text and _MAILBOX.fullmatch(text) is None:
        raise ValueError("expected an address such as NovaPulse <nova@example.com>")
    return text


class Mail(Section, frozen=True, kw_only=True):
    host: Annotated[
        str,
        Key(
            help="SMTP server; without one, messages are kept in a spool directory.",
            reload=Reload.CONSUMERS,
            reserved=True,
        ),
    ] = ""
    port: Annotated[
        int,
        Key(
            help="Port of the SMTP server.",
            reload=Reload.CONSUMERS,
            minimum=1,
            maximum=65_535,
            reserved=True,
        ),
    ] = 587
    security: Annotated[
        Literal["starttls", "tls", "none"],
        Key(
            help="How the connection to the SMTP server is encrypted.",
            reload=Reload.CONSUMERS,
            reserved=True,
        ),
    ] = "starttls"
    user: Annotated[
        str,
        Key(
            help="User at the SMTP server; empty sends without signing in.",
            reload=Reload.CONSUMERS,
            reserved=True,
        ),
    ] = ""
    password_file: Annotated[
        str,
        Key(
            help="Path of a file that holds the SMTP password.",
            reload=Reload.CONSUMERS,
            check=check_path,
            reserved=True,
        ),
    ] = ""
    sender: Annotated[
        str,
        Key(
            help="The sender of every mail.",
            reload=Reload.CONSUMERS,
            check=check_mailbox,
            reserved=True,
        ),
    ] = msgspec.field(default="", name="from")


class Tracing(Section, frozen=True, kw_only=True):
    endpoint: Annotated[
        str,
        Key(
            help="URL of an OTLP/HTTP collector; empty traces nothing.",
            reload=Reload.BOTH,
            check=check_http_url,
            reserved=True,
        ),
    ] = ""
    ratio: Annotated[
        float,
        Key(
            help="Share of the requests that are traced.",
            reload=Reload.BOTH,
            minimum=0,
            maximum=1,
            reserved=True,
        ),
    ] = 1.0
    service_name: Annotated[
        str,
        Key(
            help="The program's name in traces.",
            reload=Reload.BOTH,
            reserved=True,
        ),
    ] = "novapulse"


class Backup(Section, frozen=True, kw_only=True):
    directory: Annotated[
        str,
        Key(
            help="Where nightly backups go; empty makes none.",
            reload=Reload.LIVE,
            check=check_path,
            reserved=True,
        ),
    ] = ""
    keep: Annotated[
        int,
        Key(
            help="Nightly backups that are kept.",
            reload=Reload.LIVE,
            unit="backups",
            minimum=1,
            maximum=365,
            reserved=True,
        ),
    ] = 14
