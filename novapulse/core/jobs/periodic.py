"""Periodic kinds: Huey's crontab, evaluated by the leading scheduler once a minute.

A minute's job has an id that derives from its kind and the minute, so two
leaders enqueue it once. A leader that comes late runs what the last minutes
missed, up to `CATCH_UP_MINUTES`. One whose clock is behind adds nothing, unless the one
before was so far ahead that it was wrong.
"""

from contextlib import suppress
from datetime import datetime, timedelta

from novapulse.core.clock import SKEW
from novapulse.core.context import Runtime
from novapulse.core.ids import derived_id
from novapulse.core.jobs.kinds import hueys
from novapulse.core.jobs.rows import JOBS, NewJob
from novapulse.core.mongo import Document, Duplicate

CATCH_UP_MINUTES = 10
PERIODIC = "periodic"


async def enqueue_due(runtime: Runtime, *, now: datetime) -> int:
    """Enqueue what is due since the last call of any leader; how many jobs."""
    minute = now.replace(second=0, microsecond=0)
    rows = runtime.db.platform(PERIODIC)
    last = await rows.find_one({"_id": PERIODIC})
    first = minute
    if last is not None and last["minute"] <= minute + SKEW:
        first = last["minute"] + timedelta(minutes=1)
    first = max(first, minute - timedelta(minutes=CATCH_UP_MINUTES))
    jobs: list[Document] = []
    while first <= minute:
        jobs += _jobs_of(runtime, first)
        first += timedelta(minutes=1)
    if jobs:
        await runtime.db.platform(JOBS).insert_missing(jobs)
        for queue in {str(job["queue"]) for job in jobs}:
            runtime.bell.ring(queue)
    is_wrong = {"$gt": ["$minute", minute + SKEW]}
    latest = {"$cond": [is_wrong, minute, {"$max": ["$minute", minute]}]}
    change = [{"$set": {"minute": latest}}]
    with suppress(Duplicate):  # two made the row at once; the other one wrote the same
        await rows.find_and_update({"_id": PERIODIC}, change, upsert=True)
    return len(jobs)


def _jobs_of(runtime: Runtime, minute: datetime) -> list[Document]:
    stamp = f"min_{round(minute.timestamp()):010x}"
    return [
        runtime.job_row(
            NewJob(kind=kind, payload={}, id=derived_id("job", stamp, kind), due_at=minute)
        )
        for huey in hueys.values()
        for kind in huey.due_periodic(minute)
    ]
