"""Which consumers live, and which queues are paused."""

from novapulse.core.jobs.kinds import Queue
from novapulse.core.mongo import Database, Document

CONSUMERS = "consumers"
QUEUES = "queues"
BEAT_SECONDS = 8.0
_SILENT_MILLISECONDS = 20_000

INDEXES: tuple[Document, ...] = (
    {"name": "expiry", "keys": [("at", 1)], "expireAfterSeconds": 3600},
)


async def beat(db: Database, queue: Queue, *, owner: str) -> None:
    """Say that this consumer lives."""
    change = [{"$set": {"queue": str(queue), "at": "$$NOW"}}]
    await db.platform(CONSUMERS).find_and_update({"_id": owner}, change, upsert=True)


async def leave(db: Database, *, owner: str) -> None:
    await db.platform(CONSUMERS).delete_one({"_id": owner})


async def leave_all(db: Database, holders: Document) -> None:
    """Forget the consumers that are known to be gone."""
    await db.platform(CONSUMERS).delete_many({"_id": holders})


async def live_consumers(db: Database) -> dict[str, int]:
    """Queue to the number of consumers that were heard of in the last 20 seconds."""
    alive = {"$expr": {"$gt": ["$at", {"$subtract": ["$$NOW", _SILENT_MILLISECONDS]}]}}
    table: dict[str, int] = {}
    for row in await db.platform(CONSUMERS).find(alive, limit=1_000):
        table[row["queue"]] = table.get(row["queue"], 0) + 1
    return table


async def is_paused(db: Database, queue: Queue) -> bool:
    row = await db.platform(QUEUES).find_one({"_id": str(queue)})
    return row is not None and bool(row.get("isPaused"))


async def paused_queues(db: Database) -> set[str]:
    found = await db.platform(QUEUES).find({"isPaused": True}, limit=len(Queue))
    return {row["_id"] for row in found}
