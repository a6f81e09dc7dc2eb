"""A message on its way to somebody."""

from datetime import datetime
from typing import Any

import msgspec

from novapulse.core.errors import Invalid


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Either a template with its data, or subject and text; `id` makes a repeat harmless."""

    id: str
    to: str
    created_at: datetime
    template: str | None = None
    data: dict[str, Any] = {}
    subject: str | None = None
    text: str | None = None
    html: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("to", self.to), ("subject", self.subject)):
            if value is not None and any(sign in value for sign in "\r\n\0"):
                raise Invalid.field(name, "must be one line")
        if (self.template is None) == (self.subject is None):
            raise Invalid("A message has either a template or a subject")


class SpooledMessage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A line of the spool's list."""

    id: str
    to: str
    subject: str
    at: str
