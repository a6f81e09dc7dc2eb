"""The one-shot before everything that uses the database: bootstrap, migrations, setup token."""

import asyncio
import os
import secrets
import sys
from collections.abc import Callable

from novapulse.core.migrate import Patience, migrate
from novapulse.core.mongo import Database
from novapulse.core.secretfiles import ensure_secret_file
from novapulse.core.settings import Loaded
from novapulse.core.telemetry import tracing
from novapulse.identity.store import AccountStore
from novapulse.migrations.order import MIGRATIONS
from novapulse.processes import places
from novapulse.processes.entry import Child
from novapulse.processes.features import INDEXES
from novapulse.processes.same_keys import require_same_keys
from novapulse.stores.layout import MongoRole

# Building indexes on a full database takes longer than a request may.
_TIMEOUT_SECONDS = 600.0


async def prepare(child: Child) -> None:
    loaded = child.loaded
    db = Database(
        places.mongo_uri(loaded, MongoRole.MIGRATE),
        loaded.settings.mongo.database,
        timeout_seconds=_TIMEOUT_SECONDS,
        max_pool_size=4,
    )
    try:
        await migrate(
            db,
            MIGRATIONS,
            indexes=INDEXES,
            owner=places.owner(loaded, child.instance),
            patience=Patience(is_gone=_is_our_past(loaded)),
        )
        await require_same_keys(db, loaded)
        await _offer_setup_token(db, loaded)
    finally:
        await db.close()


def _is_our_past(loaded: Loaded) -> Callable[[str], bool]:
    """Whether a lease is that of an earlier process of this appliance: there is one at a time.

    A command's is not: it may live.
    """
    ours = places.owner(loaded, "")
    return lambda holder: holder.startswith(ours) and not holder.startswith(f"{ours}cli")


async def _offer_setup_token(db: Database, loaded: Loaded) -> None:
    """A token for founding the first company, as long as there is none."""
    path = places.setup_token_file(loaded)
    if await AccountStore(db).is_set_up():
        path.unlink(missing_ok=True)
    else:
        ensure_secret_file(path, lambda: secrets.token_urlsafe(24).encode() + b"\n")


def main(child: Child) -> None:
    if child.loaded.settings.mongo.is_embedded:
        from novapulse.stores.bootstrap import bootstrap_mongod

        bootstrap_mongod(places.layout(child.loaded))
    asyncio.run(prepare(child))
    # Everybody waits for our end. All is put away; to take the interpreter apart, which the
    # kernel does as well, would last as long as what we were here for.
    tracing.shut_down()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
