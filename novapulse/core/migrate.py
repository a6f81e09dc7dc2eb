"""Migrations and indexes: brought up to date once, before anything else uses the database.

Migrations are ordered and only go forward; each step is idempotent, so that a
killed run starts over. An older program refuses a newer database.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from novapulse.core.errors import ConfigurationInvalid, Unavailable
from novapulse.core.leader import RENEW_SECONDS, Leadership
from novapulse.core.mongo import Database, Document

log = structlog.get_logger("migrate")
SCHEMA = "schema"

IndexTable = Mapping[str, Sequence[Document]]


@dataclass(frozen=True, slots=True)
class Migration:
    """One step; `number` counts from 1 without gaps."""

    number: int
    title: str
    apply: Callable[[Database], Awaitable[None]]


class SchemaTooNew(ConfigurationInvalid):
    """The database was written by a newer program."""


async def migrate(
    db: Database, migrations: Sequence[Migration], *, indexes: IndexTable, owner: str
) -> int:
    """Bring the database up to date; the schema's number after it.

    Raises:
        SchemaTooNew: this program is older than its data.
        Unavailable: another appliance is migrating; try again.
    """
    lock = Leadership(db, owner, name="migrate")
    if not await lock.take():
        raise Unavailable("Another appliance is migrating the database")
    renewing = asyncio.create_task(_keep(lock))
    try:
        number = await _apply_missing(db, migrations)
        await ensure_indexes(db, indexes)
    finally:
        renewing.cancel()
        await lock.give_up()
    return number


async def _keep(lock: Leadership) -> None:
    """An index on many rows takes longer than a lease lasts."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        await lock.take()


async def _apply_missing(db: Database, migrations: Sequence[Migration]) -> int:
    rows = db.platform(SCHEMA)
    row = await rows.find_one({"_id": SCHEMA})
    applied = int(row["number"]) if row else 0
    known = migrations[-1].number if migrations else 0
    if applied > known:
        raise SchemaTooNew(
            f"The database has schema {applied}, this program knows {known} at most",
            where="schema",
            hint="Start the newer program again, or restore a backup of the older one",
        )
    for step in migrations[applied:]:
        log.info("migrate.step", number=step.number, title=step.title)
        await step.apply(db)
        change = {"$set": {"number": step.number}}
        await rows.find_and_update({"_id": SCHEMA}, change, upsert=True)
    return known


async def ensure_indexes(db: Database, indexes: IndexTable) -> None:
    """Build what is missing; an index whose declaration changed is built anew."""
    for collection, declared in indexes.items():
        for index in declared:
            await db.build_index(collection, index)


async def drift(db: Database, indexes: IndexTable) -> list[str]:
    """Declared indexes that are not there, as `collection.name`."""
    missing = []
    for collection, declared in indexes.items():
        present = await db.index_names(collection)
        missing += [
            f"{collection}.{item['name']}" for item in declared if item["name"] not in present
        ]
    return missing
