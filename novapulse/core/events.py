"""Events: the one vocabulary that audit, webhooks and workflows are fed from.

An event is recorded in the transaction of its change and is immutable after
it, but for its place in the company's sequence, which the pump stamps. Here
live the declaration and the row; who is told is in `core.pump`.
"""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from novapulse.core import wire
from novapulse.core.mongo import Document

EVENTS = "events"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events: a subclass's one resource field is the payload's `data`.

    `changed` names the fields that an `*.updated` event changed.
    """

    type: ClassVar[str]
    version: ClassVar[int] = 1
    resource: ClassVar[str]

    changed: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


CATALOGUE: dict[str, type[Event]] = {}


def event(type_name: str) -> Any:
    """Declare an event class under its public name (`task.created`)."""

    def declare(kind: type[Event]) -> type[Event]:
        if type_name in CATALOGUE:
            raise ValueError(f"event {type_name} is declared twice")
        kind.type = type_name
        kind.resource = type_name.partition(".")[0]
        CATALOGUE[type_name] = kind
        return kind

    return declare


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
    changed: tuple[str, ...] | None = None
    sequence: int = 0
    trace: str | None = None

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
        if self.changed is not None:
            payload["changed"] = self.changed
        return wire.encode(payload)


def to_row(
    event: Event, *, event_id: str, at: datetime, request_id: str, actor: Document
) -> Document:
    """The row to insert, without its company: the tenant session adds that."""
    resource = getattr(event, event.resource)
    row: Document = {
        "_id": event_id,
        "type": event.type,
        "version": event.version,
        "createdAt": at,
        "requestId": request_id,
        "actor": actor,
        "resourceId": resource.id,
        "data": {event.resource: wire.to_wire(resource)},
        "isPlanned": False,
    }
    if event.changed is not msgspec.UNSET:
        row["changed"] = list(event.changed)
    return row


def matches(pattern: str, event_type: str) -> bool:
    """Whether a subscription's `task.created`, `task.*` or `*` covers the type."""
    if pattern.endswith("*"):
        return event_type.startswith(pattern[:-1])
    return pattern == event_type
