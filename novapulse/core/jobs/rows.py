"""How a job looks in the ledger, and how a new one is made."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from novapulse.core import wire
from novapulse.core.errors import Invalid, TooLarge
from novapulse.core.ids import new_id
from novapulse.core.jobs.backoff import AnyBackoff, Exponential
from novapulse.core.jobs.kinds import Queue, get_kind
from novapulse.core.jobs.states import State
from novapulse.core.mongo import Document

JOBS = "jobs"
MAX_PAYLOAD_BYTES = 64 * 1024
MAX_DELAY_SECONDS = 365 * 86400


class Lease(msgspec.Struct, frozen=True):
    """Who runs the job: `claim` is the fencing token, new for every batch."""

    owner: str
    claim: str
    until: datetime


class JobRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A job as stored; `due_at` is there exactly while it can be claimed."""

    id: str = msgspec.field(name="_id")
    company_id: str | None
    queue: Queue
    kind: str
    state: State
    priority: int
    payload: dict[str, Any]
    attempt: int
    max_attempts: int
    backoff: AnyBackoff
    timeout_seconds: float
    request_id: str
    created_at: datetime
    due_at: datetime | None = None
    lapses: int = 0
    lease: Lease | None = None
    errors: list[dict[str, Any]] = []
    trace: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None


class QueueDefaults(msgspec.Struct, frozen=True):
    """A queue's policies, from its settings, for kinds that declare none."""

    attempts: int = 3
    backoff: AnyBackoff = Exponential()
    timeout_seconds: float = 300.0


def new_job(
    kind: str,
    payload: dict[str, Any],
    *,
    company_id: str | None,
    now: datetime,
    request_id: str = "",
    defaults: QueueDefaults | None = None,
    job_id: str | None = None,
    attempts: int | None = None,
    backoff: AnyBackoff | None = None,
    delay_seconds: float = 0.0,
    priority: int = 1,
) -> Document:
    """A row to insert: ids and small values only in `payload`; priority 0 is first, 2 last.

    Raises:
        Invalid: unknown kind, delay below zero or above a year.
        TooLarge: a payload of more than 64 KiB as JSON.
    """
    declared = get_kind(kind)
    fallback = defaults or QueueDefaults()
    if not 0 <= delay_seconds <= MAX_DELAY_SECONDS:
        raise Invalid.field("delay", "must be between 0 seconds and a year")
    if len(wire.encode(payload)) > MAX_PAYLOAD_BYTES:
        raise TooLarge(f"The payload of {kind} is over {MAX_PAYLOAD_BYTES} bytes")
    chosen_backoff = backoff or declared.backoff or fallback.backoff
    return {
        "_id": job_id or new_id("job"),
        "companyId": company_id,
        "queue": str(declared.queue),
        "kind": kind,
        "state": str(State.SCHEDULED if delay_seconds else State.AVAILABLE),
        "priority": priority,
        "payload": payload,
        "dueAt": now + timedelta(seconds=delay_seconds),
        "attempt": 0,
        "maxAttempts": attempts or declared.attempts or fallback.attempts,
        "backoff": msgspec.to_builtins(chosen_backoff),
        "timeoutSeconds": declared.timeout_seconds or fallback.timeout_seconds,
        "requestId": request_id,
        "createdAt": now,
    }
