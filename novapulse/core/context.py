"""What a use case runs with: who is asking, the clock, and the way to the data.

`Runtime` is built once a process; `Context` once a request, command or job.
A service reads through `ctx.read()` and writes through `ctx.transaction()`:
the rows of the change, its event and its jobs commit together or not at all.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from novapulse.core.access import Grant, Principal, Scope
from novapulse.core.clock import Clock, system_clock
from novapulse.core.crypto import KeyRing
from novapulse.core.errors import Invalid
from novapulse.core.events import EVENTS, Event, to_row
from novapulse.core.ids import new_id
from novapulse.core.jobs import rows as job_rows
from novapulse.core.jobs.bell import Bell
from novapulse.core.mongo import ClientSession, Database, Rows, TenantSession

if TYPE_CHECKING:
    from novapulse.core.redis import Cache
    from novapulse.core.settings import Settings

F = TypeVar("F")


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

    def add(self, feature: object) -> None:
        """Keep what a feature needs once a process (its keys, its client)."""
        self._features[type(feature)] = feature

    def feature(self, kind: type[F]) -> F:
        """What was added under its own class."""
        found: F = self._features[kind]
        return found


class Transaction(TenantSession):
    """A tenant session inside a transaction that also takes events and jobs."""

    def __init__(self, ctx: "Context", company_id: str, session: ClientSession) -> None:
        super().__init__(ctx.runtime.db, company_id, session)
        self._ctx = ctx
        self._mongo_session = session
        self._events: list[dict[str, Any]] = []
        self._jobs: list[dict[str, Any]] = []

    def platform(self, collection: str) -> Rows:
        """Rows that are not one company's own, in the same transaction."""
        return self._ctx.runtime.db.platform(collection, self._mongo_session)

    def record(self, event: Event) -> str:
        """Note what happened; the row is written at commit. Returns the event's id."""
        event_id = new_id("evt")
        ctx = self._ctx
        actor = {"userId": ctx.principal.user_id, "role": str(ctx.principal.role), "via": ctx.via}
        row = to_row(event, event_id=event_id, at=ctx.now(), request_id=ctx.request_id, actor=actor)
        self._events.append(row)
        return event_id

    def enqueue(self, kind: str, payload: dict[str, Any], **options: Any) -> str:
        """Plan a job of this company; options as of `core.jobs.rows.new_job`."""
        row = job_rows.new_job(
            kind,
            payload,
            company_id=self.company_id,
            request_id=self._ctx.request_id,
            now=self._ctx.now(),
            **options,
        )
        self._jobs.append(row)
        return str(row["_id"])

    async def flush(self) -> None:
        """Write the recorded events and planned jobs, last thing before the commit."""
        if self._events:
            await self.rows(EVENTS).insert_many(self._events)
        if self._jobs:
            await self.platform(job_rows.JOBS).insert_many(self._jobs)

    def ring(self) -> None:
        """After the commit: tell whoever waits that there is work; may be lost."""
        if self._events:
            self._ctx.runtime.bell.ring(EVENTS)
        for queue in {str(row["queue"]) for row in self._jobs}:
            self._ctx.runtime.bell.ring(queue)


class Context:
    """One use case's surroundings. `via` is the door: api, cli or job."""

    __slots__ = ("_transaction", "principal", "request_id", "runtime", "via")

    def __init__(
        self, runtime: Runtime, principal: Principal, *, request_id: str, via: str = "api"
    ) -> None:
        self.runtime = runtime
        self.principal = principal
        self.request_id = request_id
        self.via = via
        self._transaction: Transaction | None = None

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

    def read(self) -> TenantSession:
        """The caller's company's rows; inside a transaction, as that sees them."""
        if self._transaction is not None:
            return self._transaction
        return self.runtime.db.tenant(self.company_id)

    @asynccontextmanager
    async def transaction(self, *, company_id: str | None = None) -> AsyncIterator[Transaction]:
        """The company's rows, events and jobs in one commit; an inner use joins the outer one.

        Raises TransientConflict when another transaction got in between: nothing
        was written, and the caller's caller runs the whole use case again.
        """
        if self._transaction is not None:
            yield self._transaction
            return
        async with self.runtime.db.transaction() as session:
            tx = Transaction(self, company_id or self.company_id, session)
            self._transaction = tx
            try:
                yield tx
                await tx.flush()
            finally:
                self._transaction = None
        tx.ring()
