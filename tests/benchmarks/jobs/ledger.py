"""Fills the ledger for the races."""

from novapulse.core.context import Runtime
from novapulse.core.crypto import KeyRing
from novapulse.core.jobs import claims, ledger, presence
from novapulse.core.jobs.bell import Bell
from novapulse.core.jobs.kinds import Queue
from novapulse.core.jobs.rows import JOBS, NewJob
from novapulse.core.migrate import ensure_indexes
from novapulse.core.mongo import Database
from novapulse.core.redis import Cache
from novapulse.core.settings import Settings

COMPANY = "6b0463ff2132ffe8cf120772"
PAYLOAD = {"x": "y" * 200}


def key_ring() -> KeyRing:
    return KeyRing("bench", {"bench": b"0" * 32})


async def fill(uri: str, database: str, *, redis_url: str, kind: str, jobs: int) -> None:
    """An empty ledger with `jobs` available jobs of one company."""
    db = Database(uri, database, timeout_seconds=60, max_pool_size=5)
    cache = Cache(redis_url, timeout_seconds=0.25)
    runtime = Runtime(settings=Settings(), db=db, cache=cache, bell=Bell(cache), keys=key_ring())
    rows = db.platform(JOBS)
    await ensure_indexes(
        db,
        {JOBS: ledger.INDEXES, claims.CLAIMS: claims.INDEXES, presence.CONSUMERS: presence.INDEXES},
    )
    await rows.delete_many({})
    await db.platform(claims.CLAIMS).delete_many({})
    job = NewJob(kind=kind, payload=PAYLOAD, company_id=COMPANY)
    for start in range(0, jobs, 1000):
        batch = min(1000, jobs - start)
        await rows.insert_many([runtime.job_row(job) for _ in range(batch)])
    await cache.close()
    await db.close()


async def has_open_jobs(db: Database, queue: str) -> bool:
    """Whether a job waits or runs; found in an index, so that asking weighs nothing in a race."""
    rows = db.platform(JOBS)
    waits = {"queue": queue, **ledger.CLAIMABLE}
    if await rows.count(waits, limit=1, hint=ledger.CLAIM):
        return True
    held = await claims.held_jobs(db, Queue(queue))
    runs = {"_id": {"$in": held}, "lease.claim": {"$gt": ""}}
    return bool(held) and bool(await rows.count(runs, limit=1))
