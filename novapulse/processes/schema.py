"""The schema of the installation's database, for commands: the program may run or not."""

import asyncio
import os

from novapulse.core.migrate import Drift, SchemaStatus, drift, migrate, read_status
from novapulse.core.mongo import Database
from novapulse.core.settings import Loaded
from novapulse.migrations.order import MIGRATIONS
from novapulse.processes import places
from novapulse.processes.attach import database
from novapulse.processes.features import INDEXES
from novapulse.stores.layout import MongoRole

_TIMEOUT_SECONDS = 600.0


def look(loaded: Loaded) -> tuple[SchemaStatus, list[Drift]]:
    """Where it stands, and which indexes differ from their declarations."""

    async def read() -> tuple[SchemaStatus, list[Drift]]:
        db = _open(loaded)
        try:
            return await read_status(db, MIGRATIONS), await drift(db, INDEXES)
        finally:
            await db.close()

    with database(loaded):
        return asyncio.run(read())


def bring_up(loaded: Loaded) -> int:
    """Migrate it; the schema's number after that. Raises as `core.migrate.migrate`."""

    async def run() -> int:
        db = _open(loaded)
        owner = places.owner(loaded, f"cli-{os.getpid()}")
        try:
            return await migrate(db, MIGRATIONS, indexes=INDEXES, owner=owner)
        finally:
            await db.close()

    with database(loaded):
        return asyncio.run(run())


def _open(loaded: Loaded) -> Database:
    return Database(
        places.mongo_uri(loaded, MongoRole.MIGRATE),
        loaded.settings.mongo.database,
        timeout_seconds=_TIMEOUT_SECONDS,
        max_pool_size=4,
    )
