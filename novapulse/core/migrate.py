"""Migrations and indexes: brought up to date once, before anything else uses the database.

Migrations are ordered and only go forward; each step is idempotent, so that a killed run
starts over. Whoever migrates holds a lease, and a step counts as done only in a transaction
that proves the lease. An older program refuses a newer database.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from novapulse.core.errors import ConfigurationInvalid, TransientConflict, Unavailable
from novapulse.core.leader import LEASE_SECONDS, RENEW_SECONDS, Leadership
from novapulse.core.mongo import Database, Document
from novapulse.core.tasks import end_all

log = structlog.get_logger("migrate")
SCHEMA = "schema"
# Has a row while a backup is being restored into this database.
RESTORING = "restoring"
LOCK = "migrate"
_ASK_EVERY_SECONDS = 0.5
_TRIES = 5
_OPTIONS = ("unique", "sparse", "expireAfterSeconds", "partialFilterExpression")

_DEFAULTS = {"unique": False, "sparse": False}

IndexTable = Mapping[str, Sequence[Document]]


@dataclass(frozen=True, slots=True)
class Migration:
    """One step; `number` counts from 1 without gaps."""

    number: int
    title: str
    apply: Callable[[Database], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long to wait for another one that migrates, and whose lease is nobody's any more."""

    seconds: float = 600.0
    is_gone: Callable[[str], bool] = lambda holder: False


class SchemaTooNew(ConfigurationInvalid):
    """The database was written by a newer program."""


class RestoreUnfinished(ConfigurationInvalid):
    """A restore was interrupted: what is in the database is a part of the backup."""


class LockLost(Unavailable):
    """We were silent for so long that another one may be migrating by now."""


class SchemaStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the database stands; `pending` are the titles of the steps that it lacks."""

    number: int
    known: int
    pending: list[str]
    held_by: str | None


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """An index that is not as declared."""

    collection: str
    index: str
    problem: str


async def migrate(
    db: Database,
    migrations: Sequence[Migration],
    *,
    indexes: IndexTable,
    owner: str,
    patience: Patience | None = None,
) -> int:
    """Bring the database up to date; the schema's number after it.

    Raises:
        SchemaTooNew: this program is older than its data.
        RestoreUnfinished: the restore has to be repeated first.
        Unavailable: another appliance is migrating, or became the one that does; try again.
    """
    lock = Leadership(db, owner, name=LOCK)
    await _take(lock, patience or Patience())
    working = asyncio.create_task(_bring_up(db, migrations, indexes=indexes, lock=lock))
    renewing = asyncio.create_task(_keep(lock))
    try:
        await asyncio.wait((working, renewing), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            renewing.result()  # raises: it only ends when the lock is lost
        return working.result()
    finally:
        await end_all((working, renewing))
        with suppress(Unavailable):
            await lock.give_up()


async def read_status(db: Database, migrations: Sequence[Migration]) -> SchemaStatus:
    number = await _number(db)
    return SchemaStatus(
        number=number,
        known=len(migrations),
        pending=[step.title for step in migrations[number:]],
        held_by=await Leadership(db, "", name=LOCK).holder(),
    )


async def _take(lock: Leadership, patience: Patience) -> None:
    """A killed one's lease runs out; a living one's is waited for."""
    deadline = time.monotonic() + patience.seconds
    is_told = False
    while not await lock.take():
        holder = await lock.holder()
        if holder is not None and patience.is_gone(holder) and await lock.take(gone=(holder,)):
            return
        if time.monotonic() > deadline:
            raise Unavailable(f"Another one is migrating the database: {holder}")
        if not is_told:
            log.info("migrate.waiting", holder=holder)
            is_told = True
        await asyncio.sleep(_ASK_EVERY_SECONDS)


async def _keep(lock: Leadership) -> None:
    """Renew the lease: an index on many rows takes longer than one lasts. Raises LockLost."""
    held_until = time.monotonic() + LEASE_SECONDS
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        asked, is_ours = time.monotonic(), None
        with suppress(Unavailable):
            is_ours = await lock.take()
        if is_ours is False:
            raise LockLost("Another one migrates the database now")
        if is_ours:
            held_until = asked + LEASE_SECONDS
        if time.monotonic() > held_until:
            raise LockLost("The database did not answer for longer than the lock lasts")


async def _bring_up(
    db: Database, migrations: Sequence[Migration], *, indexes: IndexTable, lock: Leadership
) -> int:
    if await db.platform(RESTORING).find_one({}) is not None:
        raise RestoreUnfinished(
            "A restore into this database was interrupted",
            where=RESTORING,
            hint="repeat the same novapulse backup restore: it begins anew",
        )
    applied, known = await _number(db), len(migrations)
    if applied > known:
        raise SchemaTooNew(
            f"The database has schema {applied}, this program knows {known} at most",
            where="schema",
            hint="Start the newer program again, or restore a backup of the older one",
        )
    for step in migrations[applied:]:
        log.info("migrate.step", number=step.number, title=step.title)
        await step.apply(db)
        await _count(db, step.number, lock)
    await ensure_indexes(db, indexes)
    return known


async def _number(db: Database) -> int:
    row = await db.platform(SCHEMA).find_one({"_id": SCHEMA})
    return int(row["number"]) if row and "number" in row else 0


async def _count(db: Database, number: int, lock: Leadership) -> None:
    """Note that the step was done, unless somebody else holds the lock: then it is theirs."""
    await db.platform(SCHEMA).find_and_update(
        {"_id": SCHEMA}, [{"$set": {"number": {"$ifNull": ["$number", 0]}}}], upsert=True
    )
    for remaining in reversed(range(_TRIES)):
        try:
            async with db.transaction() as session:
                if not await lock.is_held(session):
                    raise LockLost("Another one migrates the database now")
                change: Document = {"$max": {"number": number}}
                await db.platform(SCHEMA, session).update_one({"_id": SCHEMA}, change)
            return
        except TransientConflict:  # with our own renewal, most likely
            if not remaining:
                raise


async def ensure_indexes(db: Database, indexes: IndexTable) -> None:
    """Build what is missing; an index whose declaration changed is built anew."""
    for collection, declared in indexes.items():
        if declared:
            await db.build_indexes(collection, declared)


async def drift(db: Database, indexes: IndexTable) -> list[Drift]:
    """Where the indexes differ from their declarations, unknown ones included."""
    found: list[Drift] = []
    for collection, declared in indexes.items():
        present = await db.indexes(collection)
        present.pop("_id_", None)
        for index in declared:
            problem = _difference(present.pop(index["name"], None), index)
            if problem:
                found.append(Drift(collection=collection, index=index["name"], problem=problem))
        found += [
            Drift(collection=collection, index=name, problem="is not one of ours")
            for name in present
        ]
    return found


def _difference(present: Mapping[str, Any] | None, declared: Document) -> str:
    """What is wrong with an index, or ""."""
    if present is None:
        return "is missing"
    if list(present["key"].items()) != [tuple(key) for key in declared["keys"]]:
        return "has other fields"
    for option in _OPTIONS:
        usual = _DEFAULTS.get(option)
        if present.get(option, usual) != declared.get(option, usual):
            return f"has another {option}"
    return ""
