"""The settings of what people are told: mail and notifications."""

import re
from typing import Annotated, Literal

import msgspec

from novapulse.core.settings.declare import Key, Reload, Section
from novapulse.core.settings.paths import check_path

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_MAILBOX = re.compile(r"[^@\s<>]+@[^@\s<>]+|[^<>]*<[^@\s<>]+@[^@\s<>]+>")


def check_host(text: str) -> str:
    """Nothing, a host name or an address."""
    if text and _HOST.fullmatch(text) is None:
        raise ValueError("expected a host name or an address, without a port")
    return text


def check_mailbox(text: str) -> str:
    """Nothing, `nova@example.com` or `NovaPulse <nova@example.com>`."""
    if text and _MAILBOX.fullmatch(text) is None:
        raise ValueError("expected an address such as NovaPulse <nova@example.com>")
    if not text.rpartition("<")[2].isascii():
        raise ValueError("expected an address in ASCII")
    return text


class Mail(Section, frozen=True, kw_only=True):
    host: Annotated[
        str,
        Key(
            help="SMTP server; without one, messages are kept in a spool directory.",
            reload=Reload.CONSUMERS,
            check=check_host,
        ),
    ] = ""
    port: Annotated[
        int,
        Key(
            help="Port of the SMTP server; 465 is usual with tls, 25 with none.",
            reload=Reload.CONSUMERS,
            minimum=1,
            maximum=65_535,
        ),
    ] = 587
    security: Annotated[
        Literal["starttls", "tls", "none"],
        Key(
            help='Encryption: "starttls" and "tls" need a certificate that can be checked.',
            reload=Reload.CONSUMERS,
        ),
    ] = "starttls"
    ca_file: Annotated[
        str,
        Key(
            help="Path of certificates (PEM) to trust besides the system's, for a server of yours.",
            reload=Reload.CONSUMERS,
            check=check_path,
        ),
    ] = ""
    user: Annotated[
        str,
        Key(
            help="User at the SMTP server; empty sends without signing in.",
            reload=Reload.CONSUMERS,
        ),
    ] = ""
    password_file: Annotated[
        str,
        Key(
            help="Path of a file, 0600, that holds the SMTP password.",
            reload=Reload.CONSUMERS,
            check=check_path,
        ),
    ] = ""
    sender: Annotated[
        str,
        Key(
            help="The sender's address; needed with a host. The name before it is the company's.",
            reload=Reload.CONSUMERS,
            check=check_mailbox,
        ),
    ] = msgspec.field(default="", name="from")
    connect_timeout_seconds: Annotated[
        float,
        Key(
            help="Longest wait for the SMTP server's greeting.",
            reload=Reload.CONSUMERS,
            unit="seconds",
            minimum=0.1,
            maximum=60,
        ),
    ] = 10.0
    timeout_seconds: Annotated[
        float,
        Key(
            help="Longest wait for each of the SMTP server's further answers.",
            reload=Reload.CONSUMERS,
            unit="seconds",
            minimum=0.1,
            maximum=300,
        ),
    ] = 30.0


class Notifications(Section, frozen=True, kw_only=True):
    keep_days: Annotated[
        int,
        Key(
            help="How long a new notification stays, read or not.",
            reload=Reload.LIVE,
            unit="days",
            minimum=1,
            maximum=3_650,
        ),
    ] = 90
