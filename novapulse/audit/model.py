"""The audit log: its lines, what they are asked for by, and the chain that holds them."""

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec

from novapulse.core import paging
from novapulse.core.events import Event, event
from novapulse.core.mongo import Document
from novapulse.core.sources import Selection

# Events hold no secrets. Should one get in by mistake, the log is not where it is read.
_SECRET_KEY = re.compile(
    r"password|secret|token|authorization|cookie|api[-_]?key|signature", re.IGNORECASE
)
_SECRET_VALUE = re.compile(
    r"whsec_[A-Za-z0-9+/=]{16,}|nvp_[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
)
_REDACTED = "[redacted]"


class AuditSelection(Selection, frozen=True, kw_only=True):
    """`action` is an event's type, or `task.*` for all of a resource's."""

    actor: (
        Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{24}|system|anonymous)(?!\n)$")] | None
    ) = None
    action: (
        Annotated[str, msgspec.Meta(pattern=r"^[a-z_]+\.(\*|[a-z_]+)(?!\n)$", max_length=100)]
        | None
    ) = None
    resource: Annotated[str, msgspec.Meta(pattern=r"^[\w.:-]{1,80}(?!\n)$")] | None = None


class AuditQuery(AuditSelection, frozen=True, kw_only=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = paging.DEFAULT_LIMIT
    cursor: Annotated[str, msgspec.Meta(max_length=128)] | None = None


class Actor(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who it was, by which door (api, cli, job), and from where if that is known."""

    user_id: str
    role: str
    via: str
    address: str | None = None


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    id: str


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A line's place in its company's chain; hashes are SHA-256 in hex."""

    seq: int
    hash: str
    previous: str


class AuditLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who did what, on what, when, from where. `chain` is there once it is sealed."""

    id: str
    created_at: datetime
    company_id: str
    actor: Actor
    action: str
    resource: Resource
    changed: tuple[str, ...] | None
    data: dict[str, Any]
    request_id: str
    sealed: bool
    chain: Link | None

    @classmethod
    def of(cls, row: Document) -> "AuditLine":
        data: Document = redacted(row["data"])
        changed = data.pop("changed", None)
        chain = row.get("audit")
        return cls(
            id=row["_id"],
            created_at=row["createdAt"],
            company_id=row["companyId"],
            actor=msgspec.convert(row["actor"], Actor),
            action=row["type"],
            resource=Resource(type=row["type"].partition(".")[0], id=row["resourceId"]),
            changed=None if changed is None else tuple(changed),
            data=data,
            request_id=row["requestId"],
            sealed=chain is not None,
            chain=None if chain is None else msgspec.convert(chain, Link),
        )


def redacted(value: Any) -> Any:
    """The value without what looks like a secret, by its name or by itself."""
    if isinstance(value, str):
        return _SECRET_VALUE.sub(_REDACTED, value)
    if isinstance(value, list):
        return [redacted(item) for item in value]
    if isinstance(value, dict):
        return {
            name: _REDACTED if isinstance(item, str) and is_secret_name(name) else redacted(item)
            for name, item in value.items()
        }
    return value


def is_secret_name(name: str) -> bool:
    return _SECRET_KEY.search(name) is not None


class Finding(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The first thing that is wrong with a chain, and in which row if it is in one."""

    seq: int
    event_id: str | None
    problem: str


class ChainReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the walk over one company's chain found; `hash` is that of its last line.

    `trimmed` lines are not kept any more, `waiting` ones not yet sealed.
    """

    company_id: str
    lines: int
    trimmed: int
    waiting: int
    hash: str
    finding: Finding | None


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines somebody took away; `id` is the company's, or `all`."""

    id: str
    format: str
    filter: dict[str, str]


@event("audit.exported", is_public=False)
class AuditExported(Event, frozen=True, kw_only=True):
    audit: Export
