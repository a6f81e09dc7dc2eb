"""Using a restored backup as the program would: is it all there, and does it open?"""

from pathlib import Path

import msgspec

from novapulse.audit import service as audit
from novapulse.backup.examine import Examined
from novapulse.core.access import SYSTEM
from novapulse.core.context import Context, Runtime
from novapulse.core.crypto import load_key_ring
from novapulse.core.ids import new_id
from novapulse.core.jobs.bell import Bell
from novapulse.core.migrate import migrate
from novapulse.core.mongo import Database
from novapulse.core.redis import Cache
from novapulse.core.secretfiles import ensure_secret_file
from novapulse.core.settings import Loaded
from novapulse.migrations.order import MIGRATIONS
from novapulse.ops import keys
from novapulse.processes import places
from novapulse.processes.features import INDEXES, SEALED
from novapulse.processes.scratch import Scratch
from novapulse.stores.layout import MongoRole

_TIMEOUT_SECONDS = 600.0


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of the backup: problems are sentences."""

    documents: int
    schema_number: int
    sealed_values: int
    audit_chains: int
    audit_lines: int
    problems: list[str]

    @property
    def is_well(self) -> bool:
        return not self.problems


async def rehearse(loaded: Loaded, place: Scratch, examined: Examined) -> Rehearsal:
    """Migrate the restored database, open what is sealed, walk the audit chains.

    By the backup's own keys; where these were left out, by those of this installation.
    """
    migrating = _database(place, MongoRole.MIGRATE)
    try:
        number = await migrate(migrating, MIGRATIONS, indexes=INDEXES, owner="drill")
    finally:
        await migrating.close()
    db = _database(place, MongoRole.API)
    # No Redis: nothing rings, nobody is counted.
    cache = Cache(f"unix://{place.directory}/none.sock", timeout_seconds=0.1)
    bell = Bell(cache)
    ring = load_key_ring(_key_file(loaded, place, examined))
    runtime = Runtime(settings=loaded.settings, db=db, cache=cache, bell=bell, keys=ring)
    ctx = Context(runtime, SYSTEM, request_id=new_id("cli"), via="cli")
    try:
        sealed = await keys.check(ctx, SEALED)
        chains = [report async for report in audit.verify(ctx)]
    finally:
        await bell.close()
        await cache.close()
        await db.close()
    problems = [f"{bad.id} {bad.path}: {bad.problem}" for one in sealed for bad in one.bad]
    problems += [
        f"audit of {chain.company_id}, line {chain.finding.seq}: {chain.finding.problem}"
        for chain in chains
        if chain.finding is not None
    ]
    return Rehearsal(
        documents=examined.manifest.documents,
        schema_number=number,
        sealed_values=sum(one.values for one in sealed),
        audit_chains=len(chains),
        audit_lines=sum(chain.lines for chain in chains),
        problems=problems,
    )


def _database(place: Scratch, role: MongoRole) -> Database:
    uri = place.uri(role)
    return Database(uri, place.database, timeout_seconds=_TIMEOUT_SECONDS, max_pool_size=4)


def _key_file(loaded: Loaded, place: Scratch, examined: Examined) -> Path:
    own = places.data_key_file(loaded)
    data = (examined.keys or {}).get(own.name)
    if data is None:
        return own
    path = place.directory / own.name
    ensure_secret_file(path, lambda: data)
    return path
