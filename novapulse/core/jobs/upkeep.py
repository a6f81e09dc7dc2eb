"""The leader's side of the ledger: take back what lost consumers held, ring, trim, count."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from novapulse.core.jobs import claims
from novapulse.core.jobs.kinds import Queue
from novapulse.core.jobs.ledger import CLAIM, CLAIMABLE, DUE, FINISHED, error_added, freed
from novapulse.core.jobs.rows import JOBS
from novapulse.core.jobs.states import MAX_LAPSES, State
from novapulse.core.mongo import Database, Document

_TRIM_BATCH = 5_000
# A busy queue completes more in a round than one batch deletes.
_TRIM_BATCHES = 20
# A job that was cut off waits before its next start: what kills consumers must
# not kill the next one at once, and its neighbours get out of its way.
_LAPSE_DELAY_MILLISECONDS = 1_000


async def _release(db: Database, where: Document, *, reason: str) -> int:
    """Take back the claims that match `where`; how many jobs return to their queue."""
    released = 0
    for claim in await claims.take(db, where):
        released += await _free(db, claim, reason=reason)
        await claims.drop(db, claim["_id"])
    return released


async def release_strays(db: Database) -> int:
    """Take back what is held by a claim that is not there."""
    lost = await claims.strays(db)
    return sum([await _free(db, claim, reason="its claim was lost") for claim in lost])


async def _free(db: Database, claim: Document, *, reason: str) -> int:
    """Return what a claim still holds to its queue; how many jobs.

    The start stays counted in `attempt`, and is taken out of the budget by
    `lapses`. A job that lost its consumer `MAX_LAPSES` times is dead; `outlived`
    are those before an attempt that ended.
    """
    lapses = {"$add": [{"$ifNull": ["$lapses", 0]}, 1]}
    outlived = {"$ifNull": ["$outlived", 0]}
    is_poison = {"$gte": [{"$subtract": [lapses, outlived]}, MAX_LAPSES]}
    wait = {"$multiply": [{"$ifNull": ["$lapses", 0]}, _LAPSE_DELAY_MILLISECONDS]}
    change = {
        **freed(State.AVAILABLE, due_at={"$add": ["$$NOW", wait]}, is_poison=is_poison),
        "lapses": lapses,
        "errors": error_added(reason),
    }
    held = {"_id": {"$in": claim["jobs"]}, "lease.claim": claim["_id"]}
    return await db.platform(JOBS).update_many(held, [{"$set": change}, {"$unset": "lease"}])


async def release_lapsed(db: Database, silences: claims.Silences) -> int:
    """Take back what lost machines held; leases of live consumers are renewed in time."""
    silent = await silences.ids()
    if not silent:
        return 0
    lapsed = {"_id": {"$in": silent}, "$expr": {"$lt": ["$until", "$$NOW"]}}
    return await _release(db, lapsed, reason="the lease lapsed: its consumer went silent")


async def release_held(db: Database, holders: Document, *, reason: str) -> int:
    """Take back what the owners that match `holders` (a filter on the owner) held."""
    return await _release(db, {"owner": holders}, reason=reason)


async def due_queues(db: Database) -> list[str]:
    """Queues with due work: for the scheduler to ring again."""
    rows = db.platform(JOBS)
    found = []
    for queue in Queue:
        due = {"queue": str(queue), **CLAIMABLE, **DUE}
        if await rows.find(due, limit=1, hint=CLAIM, projection={"_id": 1}):
            found.append(str(queue))
    return found


async def trim(db: Database, *, keep_completed: timedelta, keep_most: int, keep: timedelta) -> int:
    """Delete what finished long enough ago; how many rows.

    Completed jobs stay for `keep_completed` and at most `keep_most` a queue,
    dead and cancelled ones for `keep`.
    """
    deleted = 0
    for queue in Queue:
        for state in (State.COMPLETED, State.CANCELLED, State.DEAD):
            longest = keep_completed if state is State.COMPLETED else keep
            deleted += await _batches(partial(_trim_old, db, queue, state=state, longest=longest))
        deleted += await _batches(partial(_trim_surplus, db, queue, keep_most=keep_most))
    return deleted


async def _batches(trim_one: Callable[[], Awaitable[int]]) -> int:
    """Repeat until a batch is not full, but not for ever."""
    deleted = 0
    for _ in range(_TRIM_BATCHES):
        batch = await trim_one()
        deleted += batch
        if batch < _TRIM_BATCH:
            break
    return deleted


async def _trim_old(db: Database, queue: Queue, *, state: State, longest: timedelta) -> int:
    cut = {"$subtract": ["$$NOW", round(longest.total_seconds() * 1000)]}
    old = {
        "queue": str(queue),
        "state": str(state),
        "finishedAt": CLAIMABLE["dueAt"],
        "$expr": {"$lt": ["$finishedAt", cut]},
    }
    return await _delete(db, await _ids(db, old, limit=_TRIM_BATCH))


async def _trim_surplus(db: Database, queue: Queue, *, keep_most: int) -> int:
    rows = db.platform(JOBS)
    completed = {
        "queue": str(queue),
        "state": str(State.COMPLETED),
        "finishedAt": CLAIMABLE["dueAt"],
    }
    number = await rows.count(completed, limit=keep_most + _TRIM_BATCH, hint=FINISHED)
    surplus = number - keep_most
    return await _delete(db, await _ids(db, completed, limit=surplus)) if surplus > 0 else 0


async def _ids(db: Database, where: Document, *, limit: int) -> list[str]:
    found = await db.platform(JOBS).find(
        where, sort=(("finishedAt", 1),), limit=limit, hint=FINISHED, projection={"_id": 1}
    )
    return [row["_id"] for row in found]


async def _delete(db: Database, ids: list[str]) -> int:
    return await db.platform(JOBS).delete_many({"_id": {"$in": ids}}) if ids else 0
