"""A message on its way to somebody."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from novapulse.core.errors import Invalid

# Every message that the program sends by itself.
TEMPLATES = frozenset(
    {
        *("welcome", "invite", "invite_accepted", "password_reset", "password_changed"),
        *("mfa_enabled", "mfa_disabled", "recovery_code_used", "new_sign_in"),
        *("task_assigned", "report_ready", "webhook_failing", "webhook_disabled", "system_alert"),
    }
)


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
        check_payload({"to": self.to, "template": self.template, "subject": self.subject})


def check_payload(payload: Mapping[str, Any]) -> None:
    """Refuse what could never be sent, when it is enqueued; raises Invalid."""
    to, subject, template = (payload.get(name) for name in ("to", "subject", "template"))
    if not to:
        raise Invalid.field("to", "must not be empty")
    for name, value in (("to", to), ("subject", subject)):
        # Python's mail package breaks lines at more than CR and LF (U+001E, U+2028, …).
        if value and ("\0" in value or value.splitlines() != [value]):
            raise Invalid.field(name, "must be one line")
    if (template is None) == (subject is None):
        raise Invalid("A message has either a template or a subject")
    if template is not None and template not in TEMPLATES:
        raise Invalid.field("template", f"there is no mail template {template!r}")


class SpooledMessage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A line of the spool's list."""

    id: str
    to: str
    subject: str
    at: str
