"""What a use case runs with: who is asking, the clock, and the way to the data.

`Runtime` is built once a process; `Context` once a request, command or job.
A service reads through `ctx.read()` and writes through `ctx.transaction()`:
the rows of the change, its event and its jobs commit together or not at all.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from novapulse.core import wire
from novapulse.core.access import Grant, Principal, Scope
from novapulse.core.clock import Clock, system_clock
from novapulse.core.crypto import KeyRing
from novapulse.core.errors import Invalid, StorageFull, TransientConflict
from novapulse.core.events import EVENTS, PLATFORM, Cause, Event
from novapulse.core.events import to_row as event_row
from novapulse.core.ids import new_id
from novapulse.core.jobs.backoff import AnyBackoff
from novapulse.core.jobs.bell import Bell
from novapulse.core.jobs.kinds import Priority, get_kind
from novapulse.core.jobs.rows import JOBS, NewJob, Policy, queue_policy, to_row
from novapulse.core.mongo import (
    ClientSession,
    Database,
    Document,
    Duplicate,
    Reading,
    Rows,
    TenantSession,
)
from novapulse.core.room import Room
from novapulse.core.telemetry import logs, tracing
from novapulse.core.turnstile import Turnstile

if TYPE_CHECKING:
    from novapulse.core.http import RequestState
    from novapulse.core.redis import Cache
    from novapulse.core.settings import Settings

F = TypeVar("F")
# What is new is refused on a disk that is nearly full; jobs end what was accepted, and the operator
# at the command line is let through.
_DOORS_FOR_THE_NEW = frozenset({"api", "workflow"})


@dataclass(frozen=True, slots=True)
class Runtime:
    """A process's long-lived things, passed along instead of imported."""

    settings: "Settings"
    db: Database
    cache: "Cache"
    bell: Bell
    keys: KeyRing
    clock: Clock = system_clock
    _features: dict[type[Any], Any] = field(default_factory=dict)

    def adopt(self, settings: "Settings") -> None:
        """Take over reloaded settings: whoever reads `settings` from now on gets these."""
        object.__setattr__(self, "settings", settings)

    def job_row(self, job: NewJob) -> Document:
        """The ledger's row of a new job, with its queue's policies from the settings."""
        settings = self.settings.queues.named(get_kind(job.kind).queue)
        policy = queue_policy(settings)
        row = to_row(job, now=self.clock(), queue_policy=policy, keys=self.keys)
        if "trace" not in row and (trace := tracing.traceparent()):
            row["trace"] = trace
        return row

    def add(self, feature: object) -> None:
        """Keep what a feature needs once a process (its keys, its client)."""
        self._features[type(feature)] = feature

    def find_feature(self, kind: type[F]) -> F | None:
        """What was added under its own class, or None."""
        return self._features.get(kind)

    def feature(self, kind: type[F]) -> F:
        """What was added under its own class."""
        found: F = self._features[kind]
        return found


class Transaction(TenantSession):
    """A tenant session inside a transaction that also takes events and jobs."""

    def __init__(self, ctx: "Context", company_id: str, session: ClientSession) -> None:
        super().__init__(ctx.runtime.db, company_id, session=session)
        self._ctx = ctx
        self._mongo_session = session
        self._events: list[dict[str, Any]] = []
        self._jobs: list[dict[str, Any]] = []
        self._siblings: list[Transaction] = []

    def of(self, company_id: str) -> "Transaction":
        """The same commit, bound to another company."""
        sibling = Transaction(self._ctx, company_id, self._mongo_session)
        self._siblings.append(sibling)
        return sibling

    def platform(self, collection: str) -> Rows:
        """Rows that are not one company's own, in the same transaction."""
        return self._ctx.runtime.db.platform(collection, self._mongo_session)

    def record(self, event: Event) -> str:
        """Note what happened; the row is written at commit. Returns the event's id."""
        event_id = new_id("evt")
        ctx = self._ctx
        actor = {"userId": ctx.principal.user_id, "role": str(ctx.principal.role), "via": ctx.via}
        if ctx.request is not None and ctx.request.address:
            actor["address"] = ctx.request.address
        row = event_row(
            event, event_id=event_id, at=ctx.now(), request_id=ctx.request_id, actor=actor
        )
        if ctx.cause is not None:
            row["cause"] = wire.to_wire(ctx.cause)
        if trace := tracing.traceparent():
            row["trace"] = trace
        self._events.append(row)
        return event_id

    async def enqueue(
        self,
        kind: str,
        payload: dict[str, Any],
        *,
        attempts: int | None = None,
        backoff: AnyBackoff | None = None,
        delay: float | None = None,
        priority: Priority = Priority.NORMAL,
        key: str | None = None,
    ) -> str:
        """Plan a job of this company, due in `delay` seconds; its id.

        With a `key`, an open job of the same key is returned instead of a second one.

        Raises:
            Invalid: unknown kind, a payload that does not fit it, a number out of range.
            TooLarge: a payload of more than 64 KiB as JSON.
        """
        job = NewJob(
            kind=kind,
            payload=payload,
            company_id=self.company_id,
            request_id=self._ctx.request_id,
            policy=Policy(attempts=attempts, backoff=backoff),
            delay_seconds=delay or 0.0,
            priority=priority,
            key=key,
            cause=self._ctx.cause,
        )
        row = self._ctx.runtime.job_row(job)
        if key is not None:
            open_job = await self._find_open(row["openKey"])
            if open_job is not None:
                return str(open_job["_id"])
        self._jobs.append(row)
        return str(row["_id"])

    def plan(self, row: Document) -> None:
        """Plan a job whose row is made already (`Runtime.job_row`)."""
        self._jobs.append(row)

    async def _find_open(self, open_key: str) -> dict[str, Any] | None:
        """The open job with this key, be it one that this transaction plans itself."""
        planned = (row for row in self._jobs if row.get("openKey") == open_key)
        return next(planned, None) or await self.platform(JOBS).find_one({"openKey": open_key})

    async def flush(self) -> None:
        """Write the recorded events and planned jobs, last thing before the commit."""
        if self._events:
            await self.rows(EVENTS).insert_many(self._events)
        if self._jobs:
            try:
                await self.platform(JOBS).insert_many(self._jobs)
            except Duplicate as error:  # of a key: another one was quicker
                raise TransientConflict() from error
        for sibling in self._siblings:
            await sibling.flush()

    def ring(self) -> None:
        """After the commit: tell whoever waits that there is work; may be lost."""
        for row in self._events:
            logs.write(
                "event.recorded", eventId=row["_id"], type=row["type"], companyId=self.company_id
            )
        if self._events:
            self._ctx.runtime.bell.ring(EVENTS)
        for queue in {str(row["queue"]) for row in self._jobs}:
            self._ctx.runtime.bell.ring(queue)
        for sibling in self._siblings:
            sibling.ring()


class Context:
    """One use case's surroundings. `via` is the door: api, cli, job or workflow.

    `request` is where it comes from, for what a session remembers of its device.
    `cause` is the workflow run that it is part of: its events and jobs carry it on.
    """

    __slots__ = (
        "_begin",
        "_transaction",
        "cause",
        "principal",
        "request",
        "request_id",
        "runtime",
        "via",
    )

    def __init__(
        self,
        runtime: Runtime,
        principal: Principal,
        *,
        request_id: str,
        via: str = "api",
        request: "RequestState | None" = None,
        cause: Cause | None = None,
    ) -> None:
        self.runtime = runtime
        self.principal = principal
        self.request_id = request_id
        self.via = via
        self.request = request
        self.cause = cause
        self._transaction: Transaction | None = None
        self._begin: Callable[[], Awaitable[None]] | None = None

    def now(self) -> datetime:
        return self.runtime.clock()

    def require(self, scope: Scope) -> Grant:
        """How far `scope` reaches for the caller; raises Forbidden when not at all."""
        return self.principal.require(scope)

    @property
    def company_id(self) -> str:
        """The caller's company, from the credentials; an operator has to name one."""
        if self.principal.company_id is None:
            raise Invalid("Name the company to act on in the X-NovaPulse-Company header")
        return self.principal.company_id

    @property
    def ledger_id(self) -> str:
        """The company that the caller acts on; for an operator that named none the installation."""
        return self.principal.company_id or PLATFORM

    @property
    def home_id(self) -> str:
        """Where the caller's own things are: an operator's at no company, whichever it acts on."""
        return PLATFORM if self.principal.is_operator else self.company_id

    def on_behalf_of(self, principal: Principal) -> "Context":
        """The same request for somebody else: a founder, an invited person, an owner."""
        return Context(
            self.runtime,
            principal,
            request_id=self.request_id,
            via=self.via,
            request=self.request,
            cause=self.cause,
        )

    def on_company(self, company_id: str) -> "Context":
        """The same request acting on a company that the operator named; nobody else may."""
        if not self.principal.is_operator:
            raise ValueError("only an operator acts on a company by its id")
        return self.on_behalf_of(replace(self.principal, company_id=company_id))

    def read(self) -> TenantSession:
        """The caller's company's rows; inside a transaction, as that sees them."""
        if self._transaction is not None:
            return self._transaction
        return self.runtime.db.tenant(self.company_id)

    def read_bulk(self) -> TenantSession:
        """The company's rows for long reads: from a secondary if there is one, a little behind."""
        return self.runtime.db.tenant(self.company_id, reading=Reading.BULK)

    def read_home(self) -> TenantSession:
        """The rows of `home_id`."""
        return self.runtime.db.tenant(self.home_id)

    @asynccontextmanager
    async def transaction(
        self, *, company_id: str | None = None, only_ends: bool = False
    ) -> AsyncIterator[Transaction]:
        """The company's rows, events and jobs in one commit; an inner use joins the outer one.

        What `only_ends` something that was accepted is let through on a nearly full disk.

        Raises TransientConflict when another transaction got in between: nothing
        was written, and the caller's caller runs the whole use case again. Raises
        StorageFull while the disk is nearly full, Unavailable while too much is to be done.
        """
        if self._begin is not None:
            begin, self._begin = self._begin, None
            await begin()
        bound_to = company_id or self.company_id
        if (outer := self._transaction) is not None:
            inner = outer if bound_to == outer.company_id else outer.of(bound_to)
            self._transaction = inner
            try:
                yield inner
            finally:
                self._transaction = outer
            return
        if not only_ends:
            self._require_room()
        turnstile = self.runtime.find_feature(Turnstile)
        async with nullcontext() if turnstile is None else turnstile.turn():
            with tracing.span("transaction"):
                async with self.runtime.db.transaction() as session:
                    tx = Transaction(self, bound_to, session)
                    self._transaction = tx
                    try:
                        yield tx
                        await tx.flush()
                    finally:
                        self._transaction = None
        tx.ring()

    @asynccontextmanager
    async def as_one(self, first: Callable[[Transaction], Awaitable[None]]) -> AsyncIterator[None]:
        """All transactions of the block are one, which `first` opens: with the first of them.

        What is done before it, a request to somebody else above all, holds nobody up.
        """
        async with AsyncExitStack() as stack:

            async def begin() -> None:
                opened = self.transaction(company_id=self.ledger_id)
                await first(await stack.enter_async_context(opened))

            self._begin = begin
            try:
                yield
            finally:
                self._begin = None

    def _require_room(self) -> None:
        room = self.runtime.find_feature(Room)
        if room is not None and room.is_low and self.via in _DOORS_FOR_THE_NEW:
            raise StorageFull()
