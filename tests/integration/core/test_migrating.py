"""Migrations: once, in order, by one at a time, and right after a kill anywhere."""

import asyncio
import dataclasses
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from novapulse.core import migrate as module
from novapulse.core.errors import Unavailable
from novapulse.core.exitcodes import exit_code_of
from novapulse.core.leader import LEASES
from novapulse.core.migrate import (
    RESTORING,
    Drift,
    LockLost,
    Migration,
    Patience,
    RestoreUnfinished,
    SchemaTooNew,
    drift,
    ensure_indexes,
    migrate,
    read_status,
)
from novapulse.core.mongo import Database
from novapulse.processes.features import INDEXES
from tests.support.stores import RunningStores, temporary_layout

HASTY = Patience(seconds=0.0)
HEIR = Patience(is_gone=lambda holder: True)


@pytest.fixture
async def db(stores: RunningStores) -> AsyncIterator[Database]:
    name = stores.database_name("migrate")
    db = Database(stores.mongo_uri, name, timeout_seconds=20, max_pool_size=8)
    yield db
    await db.close()


def step(number: int, apply: Callable[[Database], Awaitable[None]]) -> Migration:
    return Migration(number, f"Step {number}", apply)


async def number_of(db: Database) -> int:
    return (await read_status(db, ())).number


# Three steps, each of which changes 100 rows; the process dies in the middle of one of
# them, after its work, or in the indexes.
CHILD = """\
import asyncio, os, signal, sys
from novapulse.core import migrate as module
from novapulse.core.migrate import Migration, Patience, migrate
from novapulse.core.mongo import Database

uri, name, where = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def step(number):
    async def apply(db):
        rows = db.platform("rows")
        for row in range(100):
            if where == f"in {number}" and row == 50:
                die()
            done = {"$addToSet": {"steps": number}}
            await rows.find_and_update({"_id": row}, done, upsert=True)
        if where == f"after {number}":
            die()
    return Migration(number, f"step {number}", apply)

async def indexes(*_):
    die()

if where == "indexes":
    module.ensure_indexes = indexes

async def main():
    db = Database(uri, name, timeout_seconds=20, max_pool_size=4)
    heir = Patience(is_gone=lambda holder: True)
    table = {"rows": [{"name": "steps", "keys": [("steps", 1)]}]}
    steps = [step(n) for n in (1, 2, 3)]
    await migrate(db, steps, indexes=table, owner=f"child/{os.getpid()}", patience=heir)
    await db.close()

asyncio.run(main())
"""


def run_child(db: Database, uri: str, where: str) -> int:
    command = [sys.executable, "-c", CHILD, uri, db.raw.name, where]
    return subprocess.run(command, timeout=50, check=False).returncode


async def test_a_killed_migration_is_finished_by_the_next_one(db: Database, stores: RunningStores):
    uri = stores.mongo_uri
    # One after the other on the same database: each time the next place is reached.
    steps = [(f"{where} {step}", step - 1) for step in (1, 2, 3) for where in ("in", "after")]
    for where, number in (*steps, ("indexes", 3)):
        assert await asyncio.to_thread(run_child, db, uri, where) == -signal.SIGKILL, where
        assert await number_of(db) == number
    assert await asyncio.to_thread(run_child, db, uri, "nowhere") == 0
    rows = await db.platform("rows").find({}, limit=200)
    assert [row["steps"] for row in rows] == [[1, 2, 3]] * 100
    assert "steps" in await db.indexes("rows")
    assert await db.platform(LEASES).find({}, limit=1) == [], "the lock is given back"


async def test_of_two_at_once_one_migrates_and_the_other_waits(db: Database):
    done: list[int] = []

    async def apply(db: Database) -> None:
        done.append(1)
        await asyncio.sleep(0.3)
        done.append(2)

    migrations = [step(1, apply)]
    owners = ("a/1", "b/1", "c/1")
    found = await asyncio.gather(*(migrate(db, migrations, indexes={}, owner=o) for o in owners))
    assert found == [1, 1, 1]
    assert done == [1, 2]


async def hand_over(db: Database) -> None:
    """The lock becomes somebody else's, as when its holder had slept for too long."""
    later = datetime.now(UTC) + timedelta(minutes=5)
    change = {"$set": {"owner": "other/1", "until": later}}
    await db.platform(LEASES).update_one({"_id": module.LOCK}, change)


async def test_a_step_does_not_count_for_who_lost_the_lock(db: Database):
    with pytest.raises(LockLost):
        await migrate(db, [step(1, hand_over)], indexes={}, owner="a/1")
    assert await number_of(db) == 0
    with pytest.raises(Unavailable):
        await migrate(db, [step(1, hand_over)], indexes={}, owner="a/2", patience=HASTY)


async def test_a_long_step_ends_when_the_lock_is_lost(
    db: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.05)
    ended = asyncio.Event()

    async def apply(db: Database) -> None:
        await hand_over(db)
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    with pytest.raises(LockLost):
        await migrate(db, [step(1, apply)], indexes={}, owner="a/1")
    assert ended.is_set()
    assert await number_of(db) == 0


async def test_a_long_step_keeps_the_lock(db: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.05)
    untils = []

    async def apply(db: Database) -> None:
        for _ in range(2):
            row = await db.platform(LEASES).find_one({"_id": module.LOCK})
            assert row is not None
            untils.append(row["until"])
            await asyncio.sleep(0.3)

    assert await migrate(db, [step(1, apply)], indexes={}, owner="a/1") == 1
    assert untils[1] > untils[0]


async def test_an_older_program_refuses_a_newer_database(db: Database):
    async def apply(db: Database) -> None:
        pass

    await migrate(db, [step(1, apply), step(2, apply)], indexes={}, owner="a/1")
    with pytest.raises(SchemaTooNew) as caught:
        await migrate(db, [step(1, apply)], indexes={}, owner="a/1")
    assert exit_code_of(caught.value) == 78
    status = await read_status(db, [step(1, apply)])
    assert (status.number, status.known, status.pending) == (2, 1, [])


async def test_an_unfinished_restore_is_refused(db: Database):
    await db.platform(RESTORING).insert({"_id": "mark"})
    with pytest.raises(RestoreUnfinished) as caught:
        await migrate(db, [], indexes={}, owner="a/1")
    assert exit_code_of(caught.value) == 78


async def test_what_a_program_lacks_is_named(db: Database):
    async def apply(db: Database) -> None:
        pass

    assert (await read_status(db, [step(1, apply)])).pending == ["Step 1"]


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TABLE: dict[str, list[dict[str, Any]]] = {
    "rows": [
        {"name": "plain", "keys": [("a", 1), ("b", -1)]},
        {"name": "unique", "keys": [("c", 1)], "unique": True},
        {"name": "expiry", "keys": [("d", 1)], "expireAfterSeconds": 60},
        {"name": "some", "keys": [("e", 1)], "partialFilterExpression": {"e": {"$gte": EPOCH}}},
    ]
}


async def test_indexes_that_differ_are_named_and_built_anew(db: Database):
    assert len(await drift(db, TABLE)) == 4, "there is not even a collection"
    await ensure_indexes(db, TABLE)
    assert await drift(db, TABLE) == []
    rows = db.raw["rows"]
    for name in ("plain", "unique", "expiry", "some"):
        await rows.drop_index(name)
    await rows.create_index([("a", 1)], name="plain")
    await rows.create_index([("c", 1)], name="unique")
    await rows.create_index([("d", 1)], name="expiry", expireAfterSeconds=61)
    await rows.create_index([("e", 1)], name="former")
    found = {(one.index, one.problem) for one in await drift(db, TABLE)}
    assert found == {
        ("plain", "has other fields"),
        ("unique", "has another unique"),
        ("expiry", "has another expireAfterSeconds"),
        ("some", "is missing"),
        ("former", "is not one of ours"),
    }
    await ensure_indexes(db, TABLE)
    assert await drift(db, TABLE) == [
        Drift(collection="rows", index="former", problem="is not one of ours")
    ]


async def test_an_index_under_another_name_becomes_ours(db: Database):
    await db.raw["rows"].create_index([("a", 1), ("b", -1)], name="former")
    await ensure_indexes(db, TABLE)
    assert await drift(db, TABLE) == []


async def test_every_index_of_the_program_is_as_declared(db: Database):
    await ensure_indexes(db, INDEXES)
    assert await drift(db, INDEXES) == []


@pytest.fixture
def impatient_uri() -> Iterator[str]:
    """Of a mongod that looks for expired rows each second instead of each minute."""
    with temporary_layout() as layout:
        both = RunningStores(layout)
        process = both.mongod.process
        argv = (*process.argv, "--setParameter", "ttlMonitorSleepSecs=1")
        both.mongod.process = dataclasses.replace(process, argv=argv)
        try:
            both.start()
            yield both.mongo_uri
        finally:
            both.kill()


async def test_expired_rows_go_and_others_stay(impatient_uri: str):
    db = Database(impatient_uri, "ttl", timeout_seconds=20, max_pool_size=8)
    try:
        await expire(db)
    finally:
        await db.close()


async def expire(db: Database) -> None:
    expiring = {
        collection: [index for index in declared if "expireAfterSeconds" in index]
        for collection, declared in INDEXES.items()
    }
    expiring = {collection: found for collection, found in expiring.items() if found}
    assert len(expiring) > 5
    now = datetime.now(UTC)
    for collection, (index,) in expiring.items():
        ((field, _),) = index["keys"]
        age = timedelta(seconds=index["expireAfterSeconds"])
        gone, kept = now - age - timedelta(minutes=1), now - age + timedelta(minutes=30)
        rows = [{"_id": "gone", field: gone}, {"_id": "kept", field: kept}, {"_id": "bare"}]
        await db.platform(collection).insert_many(rows)
    await ensure_indexes(db, expiring)
    async with asyncio.timeout(40):
        while left := [
            name for name in expiring if await db.platform(name).find_one({"_id": "gone"})
        ]:
            assert left
            await asyncio.sleep(0.2)
    for name in expiring:
        assert await db.platform(name).count({}, limit=9) == 2, name
