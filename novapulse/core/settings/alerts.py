"""The section of the built-in alerts."""

import re
from typing import Annotated

from novapulse.core.settings.declare import Key, Reload, Section

_ADDRESS = re.compile(r"[^@\s<>]+@[^@\s<>]+")


def check_recipient(text: str) -> str:
    """`ops@example.com`."""
    if _ADDRESS.fullmatch(text) is None:
        raise ValueError("expected an address such as ops@example.com")
    return text


class Alerts(Section, frozen=True, kw_only=True):
    enabled: Annotated[
        bool,
        Key(
            help="Whether the program judges its own metrics; with Prometheus one may do without.",
            reload=Reload.LIVE,
        ),
    ] = True
    recipients: Annotated[
        tuple[str, ...],
        Key(
            help="Addresses that get a mail when an alert fires; empty means every operator.",
            reload=Reload.LIVE,
            check=check_recipient,
        ),
    ] = ()
