"""A message on its way to somebody, and who is not written to any more."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

from novapulse.core import paging, wire
from novapulse.core.errors import Invalid
from novapulse.core.events import Event, event
from novapulse.identity.model import Command, Email

# Every message that the program sends by itself, and what its data has to have. A value may
# be None where the template has something to say without it.
TEMPLATES: dict[str, frozenset[str]] = {
    "welcome": frozenset({"name", "companyName"}),
    "invite": frozenset({"link", "companyName", "inviterName", "role", "expiresAt"}),
    "invite_accepted": frozenset({"name", "email", "companyName"}),
    "password_reset": frozenset({"name", "link", "minutes"}),
    "password_changed": frozenset({"name"}),
    "mfa_enabled": frozenset({"name"}),
    "mfa_disabled": frozenset({"name"}),
    "recovery_code_used": frozenset({"name", "left"}),
    "new_sign_in": frozenset({"name", "device", "address", "at"}),
    "task_assigned": frozenset({"name", "actorName", "taskTitle", "dueAt", "link"}),
    "report_ready": frozenset({"name", "reportName", "format", "expiresAt", "link"}),
    "webhook_failing": frozenset({"name", "url", "since", "answer", "link"}),
    "webhook_disabled": frozenset({"name", "url", "reason", "answer", "link"}),
    "system_alert": frozenset({"title", "text"}),
}


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
        check_payload(
            {"to": self.to, "template": self.template, "subject": self.subject, "data": self.data}
        )


def check_payload(payload: Mapping[str, Any]) -> None:
    """Refuse what could never be sent, when it is enqueued; raises Invalid."""
    to, subject, template = (payload.get(name) for name in ("to", "subject", "template"))
    if not to:
        raise Invalid.field("to", "must not be empty")
    for name, value in (("to", to), ("subject", subject)):
        # Python's mail package breaks lines at more than CR and LF (U+001E, U+2028, …).
        if value and ("\0" in value or value.splitlines() != [value]):
            raise Invalid.field(name, "must be one line")
    try:
        wire.convert(to, Email)
    except Invalid as error:
        raise Invalid.field("to", "must be one e-mail address") from error
    if (template is None) == (subject is None):
        raise Invalid("A message has either a template or a subject")
    if template is not None:
        _check_template(template, payload.get("data") or {})


def _check_template(template: str, data: Mapping[str, Any]) -> None:
    if template not in TEMPLATES:
        raise Invalid.field("template", f"there is no mail template {template!r}")
    if missing := sorted(TEMPLATES[template] - data.keys()):
        raise Invalid.field("data", f"the mail template {template} also needs {', '.join(missing)}")


class SpooledMessage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A line of the spool's list."""

    id: str
    to: str
    subject: str
    at: str


class Suppression(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An address that a mail server refused for good; `id` is how it is compared."""

    id: str
    address: str
    reason: str
    job_id: str
    created_at: datetime


class SuppressionQuery(Command, frozen=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = paging.DEFAULT_LIMIT
    cursor: str | None = None


@event("suppression.removed", is_public=False)
class SuppressionRemoved(Event, frozen=True, kw_only=True):
    suppression: Suppression
