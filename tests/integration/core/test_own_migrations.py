"""The program's own migrations: killed in the middle of each, again, and done by the next start."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from novapulse.core.leader import LEASES
from novapulse.core.migrate import drift, read_status
from novapulse.core.mongo import Database, Document
from novapulse.migrations.order import MIGRATIONS
from novapulse.processes.features import INDEXES
from novapulse.work.model import Task
from novapulse.work.reading import BEGINNINGS, LONG_WORDS, PARTIES
from novapulse.work.store import TASKS, task_document
from tests.support.stores import RunningStores

pytestmark = pytest.mark.slow
ROWS = 1_001
NEW = {PARTIES, BEGINNINGS, LONG_WORDS}
# How many rows each migration changes at once.
BATCHES = {1: 500}
# Does as the program's `migrate` does, and dies when so many batches are written.
CHILD = """\
import asyncio, os, signal, sys
from novapulse.core.migrate import Patience, migrate
from novapulse.core.mongo import Database
from novapulse.core.mongorows import Rows
from novapulse.migrations.order import MIGRATIONS
from novapulse.processes.features import INDEXES

uri, name, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
write = Rows.bulk

async def counted(self, requests):
    global left
    matched = await write(self, requests)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return matched

Rows.bulk = counted

async def main():
    db = Database(uri, name, timeout_seconds=20, max_pool_size=4)
    heir = Patience(is_gone=lambda holder: True)
    await migrate(db, MIGRATIONS, indexes=INDEXES, owner=f"child/{os.getpid()}", patience=heir)
    await db.close()

asyncio.run(main())
"""


@pytest.fixture
async def db(stores: RunningStores) -> AsyncIterator[Database]:
    name = stores.database_name("own")
    db = Database(stores.mongo_uri, name, timeout_seconds=20, max_pool_size=8)
    yield db
    await db.close()


async def migrate_and_die(db: Database, stores: RunningStores, *, after: int) -> int:
    command = [sys.executable, "-c", CHILD, stores.mongo_uri, db.raw.name, str(after)]
    run = asyncio.to_thread(subprocess.run, command, env=os.environ, timeout=50, check=False)
    return (await run).returncode


def older_tasks() -> dict[str, Document]:
    """The rows as migration 1 finds them, by what it shall make of them."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    common = {"created_by": "ada", "assignee_id": "bob", "created_at": now, "updated_at": now}
    tasks = [Task(id=f"{n:024x}", title=f"Water plant {n}", **common) for n in range(ROWS)]
    return {task.id: task_document(task) for task in tasks}


def without(row: Document, names: set[str]) -> Document:
    return {name: value for name, value in row.items() if name not in names}


async def migrated(db: Database) -> int:
    return await db.platform(TASKS).count({PARTIES: {"$exists": True}}, limit=ROWS)


def test_every_migration_has_its_kill_here():
    assert set(BATCHES) == {step.number for step in MIGRATIONS}


async def test_tasks_are_read_by_parties_and_words_after_kills_in_the_middle(
    db: Database, stores: RunningStores
):
    wanted = older_tasks()
    await db.platform(TASKS).insert_many([without(row, NEW) for row in wanted.values()])
    for kill in (1, 2):
        assert await migrate_and_die(db, stores, after=1) == -signal.SIGKILL
        assert (await read_status(db, MIGRATIONS)).number == 0
        assert await migrated(db) == kill * BATCHES[1], "in the middle"
    assert await migrate_and_die(db, stores, after=0) == 0
    assert (await read_status(db, MIGRATIONS)).number == len(MIGRATIONS)
    found = await db.platform(TASKS).find({}, limit=ROWS + 1)
    assert {row["_id"]: row | {"labels": tuple(row["labels"])} for row in found} == wanted
    assert await drift(db, INDEXES) == []
    assert await db.platform(LEASES).find({}, limit=1) == [], "the lock is given back"
