"""Events: the one vocabulary that audit, webhooks and workflows are fed from.

An event is recorded in the transaction of its change and is immutable after
it, but for its places in the company's sequence, which the pump stamps, and in
its audit chain (`novapulse.audit`). Here live the declaration and the row; who
is told is in `core.pump`.
"""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from novapulse.core import wire
from novapulse.core.mongo import Document

EVENTS = "events"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events: a subclass's fields are the payload's `data`, its resource first.

    `changed` names the fields that an `*.updated` event changed.
    """

    type: ClassVar[str]
    is_public: ClassVar[bool] = True
    version: ClassVar[int] = 1
    resource: ClassVar[str]

    changed: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


CATALOGUE: dict[str, type[Event]] = {}
INTERNAL: dict[str, type[Event]] = {}
# One row a company: how far its audit chain is sealed, and where it was trimmed.
AUDIT_HEADS = "audit_heads"
# Under this company stand the events of what belongs to none: the operator's doings.
PLATFORM = "platform"


def event(type_name: str, *, is_public: bool = True) -> Any:
    """Declare an event class under its name (`task.created`).

    One that is not public is for the audit log only: no webhook or workflow sees it.
    """

    def declare(kind: type[Event]) -> type[Event]:
        table = CATALOGUE if is_public else INTERNAL
        if type_name in CATALOGUE or type_name in INTERNAL:
            raise ValueError(f"event {type_name} is declared twice")
        kind.type = type_name
        kind.is_public = is_public
        kind.resource = type_name.partition(".")[0]
        table[type_name] = kind
        return kind

    return declare


class Cause(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The workflow run that something came from, and how many runs came one from the other."""

    run_id: str
    depth: int


class EventRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event as the ledger keeps it; `sequence` is 0 until the pump stamped it."""

    id: str = msgspec.field(name="_id")
    company_id: str
    type: str
    version: int
    created_at: datetime
    request_id: str
    actor: dict[str, Any]
    resource_id: str
    data: dict[str, Any]
    sequence: int = 0
    trace: str | None = None
    cause: Cause | None = None

    def body(self) -> bytes:
        """The payload that every webhook receiver of this event gets, byte for byte."""
        payload = {
            "id": self.id,
            "event": self.type,
            "version": self.version,
            "createdAt": self.created_at,
            "companyId": self.company_id,
            "sequence": self.sequence,
            "data": self.data,
        }
        return wire.encode(payload)


def to_row(
    event: Event, *, event_id: str, at: datetime, request_id: str, actor: Document
) -> Document:
    """The row to insert, without its company: the tenant session adds that."""
    resource = getattr(event, event.resource)
    data = {event.resource: wire.to_wire(resource)}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if name != event.resource and value is not msgspec.UNSET:
            data[name] = wire.to_wire(value)
    row: Document = {
        "_id": event_id,
        "type": event.type,
        "version": event.version,
        "createdAt": at,
        "requestId": request_id,
        "actor": actor,
        "resourceId": resource.id,
        "data": data,
        "isPlanned": not event.is_public,
        "isSealed": False,
    }
    return row


def matches(pattern: str, event_type: str) -> bool:
    """Whether a subscription's `task.created`, `task.*` or `*` covers the type."""
    if pattern.endswith("*"):
        return event_type.startswith(pattern[:-1])
    return pattern == event_type
