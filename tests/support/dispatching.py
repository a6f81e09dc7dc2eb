"""The webhook engine in this process: planner, dispatcher and worker over real stores.

`open_house` is what the scheduler and the webhook consumer have around them,
with receivers in the same event loop (`Sink`), reached over real connections.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any, cast

import msgspec
from pymongo.errors import PyMongoError

from novapulse.core import pump
from novapulse.core.access import Principal, Role
from novapulse.core.clock import Clock, system_clock
from novapulse.core.context import Context, Runtime
from novapulse.core.crypto import KeyRing
from novapulse.core.documents import new_object_id
from novapulse.core.errors import TransientConflict
from novapulse.core.events import EVENTS, EventRow
from novapulse.core.ids import new_id
from novapulse.core.jobs.bell import Bell
from novapulse.core.jobs.claims import CLAIMS
from novapulse.core.jobs.kinds import Queue
from novapulse.core.jobs.rows import JOBS
from novapulse.core.jobs.worker import Worker
from novapulse.core.migrate import ensure_indexes
from novapulse.core.mongo import Binary, Database, Document, UpdateOne
from novapulse.core.networks import AddressPolicy
from novapulse.core.outbound import OutboundClient, OutboundOptions
from novapulse.core.redis import Cache
from novapulse.core.settings import Settings
from novapulse.core.settings.queues import Webhooks
from novapulse.deliveries import planner
from novapulse.deliveries.store import ATTEMPTS, DELIVERIES, HEALTH
from novapulse.dispatch.dispatcher import Dispatcher
from novapulse.processes.features import INDEXES
from novapulse.subscriptions import secrets
from novapulse.subscriptions.model import Subscription, Webhook
from novapulse.subscriptions.service import pause_webhook, resume_webhook
from novapulse.subscriptions.store import WEBHOOKS, SubscriptionStore
from tests.support.engine import COMPANY, OTHER, until
from tests.support.stores import RunningStores

__all__ = ["COMPANY", "OTHER", "House", "Sink", "Told", "open_house", "sink", "until"]
_USED = (JOBS, CLAIMS, EVENTS, WEBHOOKS, DELIVERIES, ATTEMPTS, HEALTH)
LEASE_SECONDS = 45.0


@dataclass(frozen=True)
class Told:
    """One request that a sink got."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Plan:
    """How a path of a sink answers: after `seconds`, or never."""

    status: int = 200
    seconds: float = 0.0
    headers: str = ""
    never: bool = False


@dataclass
class Sink:
    """A receiver; every path may answer in a way of its own."""

    url: str
    told: list[Told] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)
    under_way: Counter[str] = field(default_factory=Counter)
    most_at_once: Counter[str] = field(default_factory=Counter)

    def at(self, path: str) -> list[Told]:
        return [one for one in self.told if one.path == path]

    def ids(self, path: str) -> Counter[str]:
        return Counter(one.event_id for one in self.at(path))


class _Connection(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._data = b""
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are transports by what they do, not by their class.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._data[:end].decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in lines)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            size = end + 4 + int(headers.get("content-length", "0"))
            if len(self._data) < size:
                return
            body, self._data = self._data[end + 4 : size], self._data[size:]
            self._take(first.split(" ")[1], headers, body)

    def _take(self, path: str, headers: Mapping[str, str], body: bytes) -> None:
        now = asyncio.get_running_loop().time()
        self._sink.told.append(Told(now, path, headers, body))
        plan = self._sink.plans.get(path, Plan())
        if plan.seconds or plan.never:
            task = asyncio.create_task(self._answer_later(path, plan))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._answer(plan)

    async def _answer_later(self, path: str, plan: Plan) -> None:
        sink = self._sink
        sink.under_way[path] += 1
        sink.most_at_once[path] = max(sink.most_at_once[path], sink.under_way[path])
        try:
            await asyncio.sleep(3600 if plan.never else plan.seconds)
            self._answer(plan)
        finally:
            sink.under_way[path] -= 1

    def _answer(self, plan: Plan) -> None:
        head = f"HTTP/1.1 {plan.status} X\r\nContent-Length: 2\r\n{plan.headers}\r\n"
        self._transport.write(head.encode() + b"ok")


@asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    """A receiver in the running loop, on a port of the kernel's choice."""
    made = Sink("")
    loop = asyncio.get_running_loop()
    connections: list[_Connection] = []

    def connect() -> _Connection:
        connections.append(_Connection(made))
        return connections[-1]

    server = await loop.create_server(connect, "127.0.0.1", 0, backlog=1024)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        for connection in connections:
            if hasattr(connection, "_transport"):
                connection._transport.abort()


@dataclass
class House:
    """Planner and dispatcher with everything around them."""

    runtime: Runtime
    owners: Any = field(default_factory=lambda: itertools.count(1))
    sequences: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def db(self) -> Database:
        return self.runtime.db

    def context(self, company_id: str = COMPANY) -> Context:
        principal = Principal(
            user_id="system", role=Role.SUPER_ADMIN, company_id=company_id, is_operator=True
        )
        return Context(self.runtime, principal, request_id="test", via="cli")

    async def subscribe(
        self, url: str, event: str = "task.created", *, company_id: str = COMPANY, **fields: Any
    ) -> str:
        """A webhook as its row; its id."""
        now, webhook_id = self.runtime.clock(), new_object_id()
        _, sealed = secrets.fresh(
            self.runtime.keys, webhook_id=webhook_id, company_id=company_id, at=now
        )
        given = {"retries": 3, "is_active": True, "description": None, "timeout_seconds": 15}
        webhook = Webhook(
            id=webhook_id,
            url=url,
            events=(event,),
            key_id=sealed.id,
            created_at=now,
            updated_at=now,
            **{**given, **fields},
        )
        store = SubscriptionStore(self.db.tenant(company_id))
        await store.insert(Subscription(webhook=webhook, company_id=company_id, secrets=(sealed,)))
        return webhook_id

    async def set_state(self, webhook_id: str, *, is_active: bool) -> None:
        """Pause or resume as the API does, with the settling that goes with it."""
        change = resume_webhook if is_active else pause_webhook
        while True:
            try:
                await change(self.context(), webhook_id)
                return
            except TransientConflict:
                await asyncio.sleep(0.01)

    async def delete(self, webhook_id: str) -> None:
        async with self.context().transaction() as tx:
            await SubscriptionStore(tx).delete(webhook_id)
            await tx.enqueue(planner.SETTLE, {"webhook_id": webhook_id})

    async def emit(
        self,
        number: int = 1,
        *,
        event: str = "task.created",
        company_id: str = COMPANY,
        text: str = "",
    ) -> list[str]:
        """Events that are planned for their webhooks already; their ids."""
        made = self.events(number, event, company_id=company_id, text=text)
        await self.plan(made)
        return [row.id for row in made]

    def events(self, number: int, event: str, *, company_id: str, text: str = "") -> list[EventRow]:
        at = self.runtime.clock()
        return [
            EventRow(
                id=new_id("evt"),
                company_id=company_id,
                type=event,
                version=1,
                created_at=at,
                request_id="",
                actor={},
                resource_id="",
                data={"task": {"text": text}},
                sequence=next(self.sequences),
            )
            for _ in range(number)
        ]

    async def plan(self, events: Sequence[EventRow]) -> None:
        planned = {"isPlanned": True, "isSealed": True}
        rows = [
            {**msgspec.to_builtins(event, builtin_types=(datetime,)), **planned} for event in events
        ]
        await self.db.platform(EVENTS).insert_many(rows)
        plan = pump.Plan()
        await planner.plan_deliveries(self.runtime, events, plan)
        bodies = [
            UpdateOne({"_id": one}, {"$set": {"body": Binary(body)}})
            for one, body in plan.bodies.items()
        ]
        if bodies:
            await self.db.platform(EVENTS).bulk(bodies)
        for collection, made in plan.rows.items():
            await self.db.platform(collection).insert_missing(made)
        self.ring()

    async def clear(self) -> None:
        """As new, for the next test."""
        for collection in _USED:
            await self.db.platform(collection).delete_many({})

    def ring(self) -> None:
        self.runtime.bell.ring(str(Queue.WEBHOOK))

    @asynccontextmanager
    async def dispatching(
        self, *, concurrency: int = 200, drain_seconds: float = 5.0
    ) -> AsyncIterator[Dispatcher]:
        """A dispatcher that runs for as long as the block does."""
        dispatcher, worker = self.start(concurrency=concurrency)
        running = asyncio.create_task(worker.run(drain_seconds=drain_seconds))
        try:
            yield dispatcher
        finally:
            worker.stop()
            await asyncio.wait_for(running, drain_seconds + 10)
            await dispatcher.aclose()

    def start(self, *, concurrency: int = 200) -> tuple[Dispatcher, Worker]:
        dispatcher = Dispatcher(self.runtime)
        self.runtime.add(dispatcher)
        owner = f"tests/{next(self.owners)}"
        parts = dispatcher.worker_parts(
            owner=owner, concurrency=concurrency, lease_seconds=LEASE_SECONDS
        )
        worker = Worker(
            self.runtime,
            Queue.WEBHOOK,
            owner=owner,
            concurrency=concurrency,
            lease_seconds=LEASE_SECONDS,
            make_pool=lambda _: ThreadPoolExecutor(),
            **parts,
        )
        return dispatcher, worker

    async def break_way_out(self) -> None:
        """From now on everything goes through a proxy that is not there."""
        await self.runtime.feature(OutboundClient).aclose()
        options = OutboundOptions(egress_proxy="http://127.0.0.1:9")
        self.runtime.add(
            OutboundClient(AddressPolicy([ip_network("127.0.0.1/32")], set()), options)
        )

    async def hurry(self) -> int:
        """What waits for its next attempt is due now; how many."""
        waiting = {"dueAt": {"$exists": True}, "state": "retryable"}

        async def have_jobs() -> bool:  # a delivery is written before its job is
            jobs = await self.rows(JOBS, kind="webhook.deliver", **waiting)
            return len(jobs) >= len(await self.deliveries(state="retry"))

        await until(have_jobs, what="the jobs of what is tried again")
        moved = await self.db.platform(JOBS).update_many(waiting, [{"$set": {"dueAt": "$$NOW"}}])
        self.ring()
        return moved

    async def webhook(self, webhook_id: str) -> Document:
        (row,) = await self.rows(WEBHOOKS, _id=webhook_id)
        return row

    async def rows(self, collection: str, **where: Any) -> list[Document]:
        return await self.db.platform(collection).find(where, limit=100_000)

    async def deliveries(self, **where: Any) -> list[Document]:
        return await self.rows(DELIVERIES, **where)

    async def states(self, **where: Any) -> Counter[str]:
        return Counter(row["state"] for row in await self.deliveries(**where))

    async def until_states(
        self, expected: Mapping[str, int], *, seconds: float = 20.0, **where: Any
    ) -> None:
        async def are_so() -> bool:
            return await self.states(**where) == Counter(expected)

        try:
            await until(are_so, what=f"{expected}", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; there are {await self.states(**where)}") from error

    async def recorded(self, event_type: str) -> list[Document]:
        """Events that the engine recorded itself."""
        return await self.rows(EVENTS, type=event_type)


@asynccontextmanager
async def open_house(
    stores: RunningStores, *, clock: Clock = system_clock, **webhooks: Any
) -> AsyncIterator[House]:
    """A house over a database of its own; `webhooks` are settings of that section."""
    name = stores.database_name("hooks")
    over = house_over(stores.mongo_uri, name, redis_url=stores.redis_url, clock=clock, **webhooks)
    async with over as house:
        try:
            yield house
        finally:
            with suppress(PyMongoError):  # a test may have taken the store away
                for collection in await house.db.raw.list_collection_names():
                    await house.db.raw.drop_collection(collection)


@asynccontextmanager
async def house_over(
    mongo_uri: str, database: str, *, redis_url: str, clock: Clock = system_clock, **webhooks: Any
) -> AsyncIterator[House]:
    """A house over a database that is there already, or stays."""
    db = Database(mongo_uri, database, timeout_seconds=10.0, max_pool_size=50)
    cache = Cache(redis_url, timeout_seconds=0.25)
    bell = Bell(cache)
    given = Webhooks(allow_networks=("127.0.0.1/32",), **webhooks)
    keys = KeyRing("k1", {"k1": b"1" * 32})
    settings = Settings(webhooks=given)
    runtime = Runtime(settings=settings, db=db, cache=cache, bell=bell, keys=keys, clock=clock)
    runtime.add(OutboundClient(_policy()))
    await ensure_indexes(db, {collection: INDEXES[collection] for collection in _USED})
    try:
        yield House(runtime)
    finally:
        await runtime.feature(OutboundClient).aclose()
        await bell.close()
        await cache.close()
        await db.close()


def _policy() -> AddressPolicy:
    return AddressPolicy([ip_network("127.0.0.1/32")], set())


class StillClock:
    """Time that passes only when it is told to.

    It begins some days ago: what is due by it is due for the database too.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._now = system_clock() - timedelta(days=20)

    def __call__(self) -> datetime:
        return self._now

    def jump(self, by: timedelta) -> None:
        self._now += by
