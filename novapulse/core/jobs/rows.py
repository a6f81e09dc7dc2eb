"""How a job looks in the ledger, and how a new one is made."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from novapulse.core import wire
from novapulse.core.crypto import KeyRing, Place
from novapulse.core.errors import Invalid, TooLarge
from novapulse.core.events import Cause
from novapulse.core.ids import new_id
from novapulse.core.jobs.backoff import AnyBackoff, Exponential, Fixed
from novapulse.core.jobs.kinds import Priority, Queue, find_kind, get_kind
from novapulse.core.jobs.states import State
from novapulse.core.mongo import Document
from novapulse.core.sealed import SealedField, SealedSpot, looks_sealed

if TYPE_CHECKING:
    from novapulse.core.settings.queues import Queue as QueueSettings

JOBS = "jobs"
MAX_PAYLOAD_BYTES = 64 * 1024
MAX_DELAY_SECONDS = 365 * 86400
MAX_ATTEMPTS = 50


class Lease(msgspec.Struct, frozen=True):
    """Who runs the job: `claim` is the fencing token, new for every batch."""

    owner: str
    claim: str


class JobRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A job as stored. `due_at` is there exactly while it can be claimed.

    `attempt` counts starts, `lapses` those that ended with their consumer.
    """

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
    key: str | None = None
    lease: Lease | None = None
    errors: list[dict[str, Any]] = []
    progress: dict[str, Any] | None = None
    trace: str | None = None
    cause: Cause | None = None
    lane: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def claim(self) -> str:
        """The fencing token of the lease; empty for one that does not run."""
        return self.lease.claim if self.lease else ""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How a job is treated; what is None is left to its kind, then to its queue."""

    attempts: int | None = None
    backoff: AnyBackoff | None = None
    timeout_seconds: float | None = None

    def over(self, other: "Policy") -> "Policy":
        """This policy, with the gaps filled from `other`."""
        return Policy(
            attempts=self.attempts or other.attempts,
            backoff=self.backoff or other.backoff,
            timeout_seconds=self.timeout_seconds or other.timeout_seconds,
        )


def queue_policy(settings: "QueueSettings") -> Policy:
    """What a queue's settings say of its jobs."""
    backoff: AnyBackoff = (
        Exponential(seconds=settings.backoff_seconds)
        if settings.backoff == "exponential"
        else Fixed(seconds=settings.backoff_seconds)
    )
    return Policy(
        attempts=settings.attempts, backoff=backoff, timeout_seconds=settings.timeout_seconds
    )


FALLBACK = Policy(attempts=3, backoff=Exponential(), timeout_seconds=300.0)


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be: `key` is unique among a company's open jobs of the kind.

    `payload` holds ids and small values, at most 64 KiB as JSON. `delay_seconds`
    or `due_at` make it wait. A consumer of its own kind may serve `lane`s in turn.
    """

    kind: str
    payload: dict[str, Any]
    company_id: str | None = None
    request_id: str = ""
    id: str | None = None
    key: str | None = None
    policy: Policy = Policy()
    delay_seconds: float = 0.0
    due_at: datetime | None = None
    priority: Priority = Priority.NORMAL
    trace: str | None = None
    cause: Cause | None = None
    lane: str | None = None

    def open_key(self) -> str | None:
        return None if self.key is None else f"{self.company_id}:{self.kind}:{self.key}"


def to_row(job: NewJob, *, now: datetime, queue_policy: Policy, keys: KeyRing) -> Document:
    """The ledger's row of a new job.

    Raises:
        Invalid: unknown kind, a payload that does not fit its handler, delay out of range.
        TooLarge: a payload of more than 64 KiB as JSON.
    """
    kind = get_kind(job.kind)
    kind.check_payload(job.payload)
    if not 1 <= (1 if job.policy.attempts is None else job.policy.attempts) <= MAX_ATTEMPTS:
        raise Invalid.field("attempts", f"must be between 1 and {MAX_ATTEMPTS}")
    if not 0 <= job.delay_seconds <= MAX_DELAY_SECONDS:
        raise Invalid.field("delay", "must be between 0 seconds and a year")
    if len(wire.encode(job.payload)) > MAX_PAYLOAD_BYTES:
        raise TooLarge(f"The payload of {job.kind} is over {MAX_PAYLOAD_BYTES} bytes")
    due_at = job.due_at or now + timedelta(seconds=job.delay_seconds)
    policy = job.policy.over(kind.policy).over(queue_policy).over(FALLBACK)
    job_id = job.id or new_id("job")
    row: Document = {
        "_id": job_id,
        "companyId": job.company_id,
        "queue": str(kind.queue),
        "kind": job.kind,
        "state": str(State.SCHEDULED if due_at > now else State.AVAILABLE),
        "priority": int(job.priority),
        "payload": seal_payload(job.payload, kind.sealed, keys=keys, job_id=job_id),
        "dueAt": due_at,
        "attempt": 0,
        "maxAttempts": policy.attempts,
        "backoff": msgspec.to_builtins(policy.backoff),
        "timeoutSeconds": policy.timeout_seconds,
        "requestId": job.request_id,
        "createdAt": now,
    }
    if job.key is not None:
        row |= {"key": job.key, "openKey": job.open_key()}
    if job.trace is not None:
        row["trace"] = job.trace
    if job.lane is not None:
        row["lane"] = job.lane
    if job.cause is not None:
        row["cause"] = wire.to_wire(job.cause)
    return row


def seal_payload(
    payload: dict[str, Any], fields: tuple[str, ...], *, keys: KeyRing, job_id: str
) -> dict[str, Any]:
    """The payload with `fields` as sealed strings: the ledger must not be able to read them."""
    sealed = {
        name: keys.seal(wire.encode(payload[name]), Place(JOBS, job_id, f"payload.{name}"))
        for name in fields
        if name in payload
    }
    return {**payload, **sealed} if sealed else payload


def open_payload(
    payload: dict[str, Any], fields: tuple[str, ...], *, keys: KeyRing, job_id: str
) -> dict[str, Any]:
    """What `seal_payload` sealed, readable again."""
    opened = {
        name: msgspec.json.decode(keys.open(payload[name], Place(JOBS, job_id, f"payload.{name}")))
        for name in fields
        if name in payload
    }
    return {**payload, **opened} if opened else payload


def _spots(row: Document) -> Iterator[SealedSpot]:
    """A kind that is not declared any more has all of its payload looked at."""
    kind, payload = find_kind(row["kind"]), row["payload"]
    for name in payload if kind is None else kind.sealed:
        if looks_sealed(payload.get(name)):
            path = f"payload.{name}"
            yield SealedSpot(path, payload[name], Place(JOBS, row["_id"], path))


SEALED = (SealedField(JOBS, ("kind", "payload"), _spots),)
