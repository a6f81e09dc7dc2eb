"""What the operational endpoints answer, and the events of what operators do."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from novapulse.core import paging
from novapulse.core.events import Event, event
from novapulse.core.jobs.rows import JobRow
from novapulse.core.jobs.states import State

_Kind = Annotated[str, msgspec.Meta(pattern=r"^[a-z_]+\.[a-z_]+(?!\n)$", max_length=80)]


class HealthReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`checks` and what follows are for those who may see them only."""

    status: str
    checks: dict[str, dict[str, Any]] | UnsetType = UNSET
    version: str | UnsetType = UNSET
    uptime_seconds: int | UnsetType = UNSET


class QueueStats(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One queue by job states; `oldest_seconds` is how long the oldest due job has waited."""

    queue: str
    available: int
    scheduled: int
    running: int
    retryable: int
    completed: int
    dead: int
    oldest_seconds: float
    rate_per_minute: int
    paused: bool
    consumers: int


class QueueTable(msgspec.Struct, frozen=True):
    data: list[QueueStats]


class JobView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A job as it is inspected; sealed payload fields read `[sealed]`.

    `links` are the ids of what it is about, by what that is: its event, delivery, webhook.
    """

    id: str
    company_id: str | None
    queue: str
    kind: str
    state: State
    priority: int
    payload: dict[str, Any]
    links: dict[str, str]
    attempt: int
    max_attempts: int
    lapses: int
    key: str | None
    errors: list[dict[str, Any]]
    progress: dict[str, Any] | None
    request_id: str
    created_at: datetime
    due_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: JobRow, *, sealed: tuple[str, ...]) -> "JobView":
        hidden = {name: "[sealed]" for name in sealed if name in job.payload}
        shared = {
            name: getattr(job, name)
            for name in cls.__struct_fields__
            if name not in ("queue", "payload", "links")
        }
        payload = {**job.payload, **hidden}
        links = {
            name.removesuffix("_id"): value
            for name, value in payload.items()
            if name.endswith("_id") and isinstance(value, str)
        }
        return cls(queue=job.queue.public_name, payload=payload, links=links, **shared)


class JobQuery(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = paging.DEFAULT_LIMIT
    cursor: Annotated[str, msgspec.Meta(pattern=r"^job_[0-9a-z]{26}(?!\n)$")] | None = None
    state: State | None = None
    kind: _Kind | None = None
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class BulkQuery(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """`state` has to be named: nothing is done to a whole queue by leaving something out."""

    state: State
    kind: _Kind | None = None
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    dry_run: bool = False


class BulkAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many jobs were touched, or would be; with `more`, ask again for those that are left."""

    count: int
    dry_run: bool
    more: bool = False


class QueueState(msgspec.Struct, frozen=True):
    id: str
    paused: bool


class Cleared(msgspec.Struct, frozen=True, kw_only=True):
    """What a bulk verb did: to which queue, by which filter, to how many jobs."""

    id: str
    filter: dict[str, Any]
    count: int


@event("queue.paused", is_public=False)
class QueuePaused(Event, frozen=True, kw_only=True):
    queue: QueueState


@event("queue.resumed", is_public=False)
class QueueResumed(Event, frozen=True, kw_only=True):
    queue: QueueState


@event("queue.cleared", is_public=False)
class QueueCleared(Event, frozen=True, kw_only=True):
    queue: Cleared


@event("queue.retried", is_public=False)
class QueueRetried(Event, frozen=True, kw_only=True):
    queue: Cleared


class JobRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    company_id: str | None
    queue: str
    kind: str


@event("job.retried", is_public=False)
class JobRetried(Event, frozen=True, kw_only=True):
    job: JobRef


@event("job.cancelled", is_public=False)
class JobCancelled(Event, frozen=True, kw_only=True):
    job: JobRef
