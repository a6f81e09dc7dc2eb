"""The job engine in this process: its ledger in a real mongod, its bell in a real Redis.

`open_engine` is what a process has around the ledger, without API and supervisor.
`declared` makes a job kind for one test; `working` runs a worker on a queue.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from novapulse.core.access import SYSTEM
from novapulse.core.context import Context, Runtime, Transaction
from novapulse.core.crypto import KeyRing
from novapulse.core.errors import Unavailable
from novapulse.core.jobs import claims, ledger, periodic, presence, stats
from novapulse.core.jobs.bell import Bell
from novapulse.core.jobs.kinds import Queue, job
from novapulse.core.jobs.rows import JOBS, NewJob
from novapulse.core.jobs.worker import Worker
from novapulse.core.migrate import ensure_indexes
from novapulse.core.mongo import Database
from novapulse.core.redis import Cache
from novapulse.core.settings import Settings
from novapulse.core.tasks import end_all
from tests.support.stores import RunningStores

INDEXES = {
    JOBS: ledger.INDEXES,
    claims.CLAIMS: claims.INDEXES,
    presence.CONSUMERS: presence.INDEXES,
    # Made here, because a transaction must not be the first to touch a collection.
    presence.QUEUES: (),
    periodic.PERIODIC: (),
    stats.SNAPSHOTS: (),
}
COMPANY = "6b0463ff2132ffe8cf120772"
OTHER = "6b0463ff2132ffe8cf120773"
DRAIN_SECONDS = 5.0
_numbers = itertools.count(1)


@dataclass
class Engine:
    """The ledger with everything around it."""

    runtime: Runtime
    mongo_uri: str
    redis_url: str
    owners: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def db(self) -> Database:
        return self.runtime.db

    def context(self) -> Context:
        return Context(self.runtime, SYSTEM, request_id="test", via="cli")

    @asynccontextmanager
    async def transaction(self, company_id: str = COMPANY) -> AsyncIterator[Transaction]:
        async with self.context().transaction(company_id=company_id) as tx:
            yield tx

    async def add(
        self, kind: str, payload: dict[str, Any] | None = None, *, number: int = 1, **options: Any
    ) -> list[str]:
        """`number` equal jobs, written at once, and the bell; their ids, oldest first."""
        options.setdefault("company_id", COMPANY)
        jobs = [NewJob(kind=kind, payload=payload or {}, **options) for _ in range(number)]
        rows = [self.runtime.job_row(job) for job in jobs]
        await self.db.platform(JOBS).insert_many(rows)
        self.runtime.bell.ring(str(rows[0]["queue"]))
        return [str(row["_id"]) for row in rows]

    async def add_one(
        self, kind: str, payload: dict[str, Any] | None = None, **options: Any
    ) -> str:
        return (await self.add(kind, payload, **options))[0]

    async def row(self, job_id: str) -> dict[str, Any]:
        found = await self.db.platform(JOBS).find_one({"_id": job_id})
        assert found is not None, f"{job_id} is gone"
        return found

    async def rows(self, **where: Any) -> list[dict[str, Any]]:
        return await self.db.platform(JOBS).find(where, sort=(("_id", 1),), limit=100_000)

    async def states(self, **where: Any) -> Counter[str]:
        """How many jobs there are of each state, counted row by row."""
        return Counter(row["state"] for row in await self.rows(**where))

    async def until_state(
        self, job_id: str, state: str, *, seconds: float = 20.0
    ) -> dict[str, Any]:
        """The row as soon as it is in that state."""
        await until(lambda: self._is(job_id, state), what=f"{job_id} {state}", seconds=seconds)
        return await self.row(job_id)

    async def until_all(self, state: str, number: int, *, seconds: float = 30.0) -> None:
        async def are_there() -> bool:
            where = {"state": state}
            return await self.db.platform(JOBS).count(where, limit=number + 1) >= number

        await until(are_there, what=f"{number} jobs {state}", seconds=seconds)

    async def _is(self, job_id: str, state: str) -> bool:
        row = await self.db.platform(JOBS).find_one({"_id": job_id})
        return row is not None and row["state"] == state

    def worker(
        self,
        queue: Queue = Queue.EMAIL,
        *,
        concurrency: int = 5,
        lease_seconds: float = 30.0,
        owner: str = "",
        make_pool: Callable[..., Any] = lambda _: ThreadPoolExecutor(),
    ) -> Worker:
        return Worker(
            self.runtime,
            queue,
            owner=owner or f"tests/{next(self.owners)}",
            concurrency=concurrency,
            lease_seconds=lease_seconds,
            make_pool=make_pool,
        )

    @asynccontextmanager
    async def working(
        self, queue: Queue = Queue.EMAIL, *, drain_seconds: float = DRAIN_SECONDS, **options: Any
    ) -> AsyncIterator[Worker]:
        """A worker that runs for as long as the block does, and drains after it."""
        worker = self.worker(queue, **options)
        running = asyncio.create_task(worker.run(drain_seconds=drain_seconds))
        try:
            yield worker
        finally:
            worker.stop()
            await asyncio.wait_for(running, drain_seconds + 10)

    async def leave_behind(self, worker: Worker, *, until_it: Callable[[], bool]) -> None:
        """Run a worker and take it away without a drain, as a lost machine would."""
        running = asyncio.create_task(worker.run(drain_seconds=0))
        try:
            await until(until_it, what="the worker to get so far")
        finally:
            await abandon(worker, running)


async def abandon(worker: Worker, running: asyncio.Task[None]) -> None:
    """End a worker's tasks where they stand: nothing is given back, nothing is written."""
    worker._note = lambda job, outcome: None  # type: ignore[method-assign]  # it is dead
    worker._may_start = lambda: False  # type: ignore[method-assign]  # likewise
    # A cancellation that meets a driver in the middle of a call may be taken for a failure of
    # that call, and the worker goes on: it is repeated until it is heard. The lanes go last,
    # because the worker would claim for those that end.
    await end_all((running,), within_seconds=20.0)
    assert running.done()
    await end_all((*worker._lanes, *worker._writers), within_seconds=20.0)


async def until(
    condition: Callable[[], Any | Awaitable[Any]], *, what: str, seconds: float = 60.0
) -> None:
    """Wait until the condition holds; a plain or a coroutine function."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(Unavailable):  # a test took the store away
            holds = condition()
            if isinstance(holds, Awaitable):
                holds = await holds
            if holds:
                return
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        await asyncio.sleep(0.01)


@contextmanager
def declared(handler: Any, *, queue: Queue = Queue.EMAIL, kind: str = "", **policy: Any) -> Any:
    """The handler as a job kind; its name is the block's value, and it is gone after it."""
    name = kind or f"test.kind{next(_numbers)}"
    task = job(name, queue=queue, **policy)(handler)
    try:
        yield name
    finally:
        task.unregister()


@asynccontextmanager
async def open_engine(stores: RunningStores, **sections: Any) -> AsyncIterator[Engine]:
    """An engine over a database of its own."""
    name = stores.database_name("jobs")
    db = Database(stores.mongo_uri, name, timeout_seconds=5.0, max_pool_size=50)
    cache = Cache(stores.redis_url, timeout_seconds=0.25)
    bell = Bell(cache)
    keys = KeyRing("k1", {"k1": b"1" * 32})
    runtime = Runtime(settings=Settings(**sections), db=db, cache=cache, bell=bell, keys=keys)
    await ensure_indexes(db, INDEXES)
    try:
        yield Engine(runtime, stores.mongo_uri, stores.redis_url)
    finally:
        await bell.close()
        await cache.close()
        with suppress(PyMongoError):  # a test may have taken the store away
            for collection in await db.raw.list_collection_names():  # a whole database takes 0.5 s
                await db.raw.drop_collection(collection)
        await db.close()


@pytest.fixture
async def engine(stores: RunningStores) -> AsyncIterator[Engine]:
    async with open_engine(stores) as opened:
        yield opened
