"""Reads and limits over shared connections: right for each caller, and never the only way."""

import asyncio
import resource
import time

import pytest
from pymongo.errors import OperationFailure
from redis import Redis

from novapulse.core import ratelimit
from novapulse.core.documents import new_object_id
from novapulse.core.errors import Unavailable
from novapulse.core.mongo import Database, Document, Duplicate, Rows
from novapulse.core.mongocalls import budget
from novapulse.core.redis import Cache
from novapulse.core.settings.rates import Rate
from tests.support.stores import RunningStores

RATE = Rate(1_000, 3600)


async def linked(db: Database) -> Rows:
    """A company's rows, read over the link from here on."""
    rows = db.tenant(new_object_id()).rows("things")
    await rows.insert_many([{"_id": new_object_id(), "n": number} for number in range(30)])
    async with asyncio.timeout(10):
        while db._link._pipeline is None:
            await rows.find({}, limit=1)
            await asyncio.sleep(0.02)
    return rows


def database(stores: RunningStores, *, timeout_seconds: float = 5.0) -> Database:
    name = stores.database_name("linked")
    return Database(stores.mongo_uri, name, timeout_seconds=timeout_seconds, max_pool_size=5)


async def test_many_reads_at_once_get_each_its_own_rows(stores: RunningStores) -> None:
    db = database(stores)
    try:
        rows = await linked(db)
        wanted = [number % 30 for number in range(300)]
        found = await asyncio.gather(
            *(rows.find({"n": n}, sort=(("n", -1), ("_id", -1)), limit=2) for n in wanted)
        )
        assert [[row["n"] for row in some] for some in found] == [[n] for n in wanted]
        one = await rows.find_one({"n": 7}, projection={"n": 1})
        assert one is not None
        assert one.keys() == {"_id", "n"}
        assert await rows.find_one({"n": 99}) is None
        assert len(await rows.find({}, limit=20)) == 20
        sizes = db.pool_sizes()
        assert sizes["in_use"] == 0
        assert sizes["idle"] >= 1
    finally:
        await db.close()


async def test_an_error_of_the_server_is_the_drivers_to_tell_and_harms_nobody(
    stores: RunningStores,
) -> None:
    db = database(stores)
    try:
        rows = await linked(db)
        link = db._link._pipeline
        with pytest.raises(Exception, match="hint"):
            await rows.find({}, limit=2, hint="no such index")
        assert db._link._pipeline is link
        assert len(await rows.find({}, limit=40)) == 30
    finally:
        await db.close()


async def test_a_cancelled_read_shifts_no_answers(stores: RunningStores) -> None:
    db = database(stores)
    try:
        rows = await linked(db)
        reads = [asyncio.create_task(rows.find({"n": n}, limit=1)) for n in range(20)]
        await asyncio.sleep(0)
        for read in reads[::2]:
            read.cancel()
        await asyncio.wait(reads)
        assert [read.result()[0]["n"] for read in reads[1::2]] == list(range(1, 20, 2))
    finally:
        await db.close()


def inserted(*numbers: int) -> Document:
    return {"insert": "things", "documents": [{"_id": str(number)} for number in numbers]}


CHANGED = {"update": "things", "updates": [{"q": {}, "u": {"$set": {"n": 1}}, "multi": True}]}


@pytest.mark.parametrize("is_linked", [True, False])
async def test_writes_that_travel_together_are_done_in_their_order(
    stores: RunningStores, is_linked: bool
) -> None:
    db = database(stores)
    try:
        if is_linked:
            await db.warm_up()
            assert db._link._pipeline is not None
        pairs = [
            db.write_swiftly("things", "write", inserted(2 * number, 2 * number + 1), CHANGED)
            for number in range(1 if not is_linked else 5)
        ]
        changed = await asyncio.gather(*pairs)
        assert changed == [[2, 2]] * len(pairs), "each finds those that were inserted before it"
        assert CHANGED.keys() == {"update", "updates"}
        with pytest.raises(Duplicate):
            await db.write_swiftly("things", "write", inserted(0))
        with pytest.raises(OperationFailure, match="unknown"):
            await db.write_swiftly("things", "write", {"unknown": 1})
        assert await db.platform("things").count({"n": 1}, limit=100) == 2 * len(pairs)
    finally:
        await db.close()


async def test_a_write_whose_connection_breaks_may_have_been_done(stores: RunningStores) -> None:
    db = database(stores)
    try:
        await db.warm_up()
        write = asyncio.create_task(db.write_swiftly("things", "write", inserted(1)))
        await asyncio.sleep(0)
        assert db._link._pipeline is not None
        db._link._pipeline.abort()
        with pytest.raises(Unavailable):
            await write
        await db.write_swiftly("things", "write", inserted(2))  # by the driver
    finally:
        await db.close()


@pytest.mark.chaos
async def test_a_mongod_that_hangs_or_restarts_costs_a_bounded_wait(
    private_stores: RunningStores,
) -> None:
    db = database(private_stores, timeout_seconds=1.0)
    try:
        rows = await linked(db)
        private_stores.mongod.pause()
        began = time.monotonic()
        try:
            asked = [rows.find({}, limit=1) for _ in range(5)]
            failed = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            private_stores.mongod.resume()
        assert all(isinstance(one, Unavailable) for one in failed), failed
        assert time.monotonic() - began < 3.0
        private_stores.mongod.kill()
        private_stores.mongod.start()
        async with asyncio.timeout(20):
            while True:
                try:
                    if await rows.find({}, limit=1) and db._link._pipeline is not None:
                        break
                except Unavailable:
                    pass
                await asyncio.sleep(0.05)
    finally:
        await db.close()


@pytest.mark.chaos
async def test_a_read_waits_no_longer_than_its_request_may(private_stores: RunningStores) -> None:
    db = database(private_stores, timeout_seconds=10.0)
    try:
        rows = await linked(db)
        private_stores.mongod.pause()
        began = time.monotonic()
        try:
            with budget(10.0) as shared:
                shared.left_seconds = 0.2
                with pytest.raises(Unavailable):
                    await rows.find({}, limit=1)
        finally:
            private_stores.mongod.resume()
        assert time.monotonic() - began < 5.0
    finally:
        await db.close()


@pytest.mark.chaos
async def test_a_redis_that_forgets_hangs_or_restarts_lets_requests_pass_in_time(
    private_stores: RunningStores,
) -> None:
    cache = Cache(private_stores.redis_url, timeout_seconds=0.25)

    async def ask() -> list[ratelimit.Verdict | None]:
        return list(await asyncio.gather(*(ratelimit.check(cache, "k", RATE) for _ in range(9))))

    try:
        assert sorted(one.remaining for one in await ask() if one) == list(range(991, 1000))
        with Redis.from_url(private_stores.redis_url) as admin:
            admin.script_flush()
        assert None not in await ask()
        private_stores.redis.pause()
        began = time.monotonic()
        try:
            assert await ask() == [None] * 9
            assert not cache.breaker.is_open  # nine callers, one failure
            assert await ask() == [None] * 9
        finally:
            private_stores.redis.resume()
        assert time.monotonic() - began < 1.2
        private_stores.redis.kill()
        private_stores.redis.start()
        for _ in range(100):
            if None not in await ask():
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("Redis is back, and no request is counted")
    finally:
        await cache.close()


async def test_a_connection_from_before_the_server_was_ready_is_replaced(
    stores: RunningStores,
) -> None:
    """Such a one refuses transactions for good, and the pool would lend it again and again."""
    db = database(stores)
    try:
        await db.platform("things").insert({"_id": 1})
        for server in db.client._topology._servers.values():
            assert len(server.pool.conns) == 1
            server.pool.conns[0].supports_sessions = False
        with pytest.raises(Unavailable, match="starting"):
            await insert_in_transaction(db, 2)
        await insert_in_transaction(db, 3)
        assert await db.platform("things").count({}, limit=9) == 2
    finally:
        await db.close()


async def insert_in_transaction(db: Database, number: int) -> None:
    async with db.transaction() as session:
        await db.platform("things", session).insert({"_id": number})


async def test_a_process_is_warm_before_its_first_request(stores: RunningStores) -> None:
    db = database(stores)
    try:
        await db.warm_up()
        assert db._link.is_idle
        assert db.pool_sizes()["idle"] >= 2
    finally:
        await db.close()


async def test_warming_up_without_a_store_ends_and_raises_nothing() -> None:
    uri = "mongodb://%2Fnonexistent%2Fmongodb.sock/?directConnection=true"
    db = Database(uri, "nothing", timeout_seconds=0.3, max_pool_size=5)
    try:
        async with asyncio.timeout(5):
            await db.warm_up()
    finally:
        await db.close()


async def test_an_idle_driver_of_a_single_server_hardly_wakes(stores: RunningStores) -> None:
    """Nine processes of an appliance have one each; left to itself it wakes six times a second."""
    db = database(stores)
    try:
        await db.ping()
        await asyncio.sleep(1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        await asyncio.sleep(4)
        woken = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
    finally:
        await db.close()
    assert woken / 4 < 4
