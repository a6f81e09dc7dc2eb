"""Tasks from before lists were read by parties and by words of the title get both."""

from novapulse.core.documents import from_document
from novapulse.core.migrate import Migration
from novapulse.core.mongo import Database, UpdateOne
from novapulse.work.model import Task
from novapulse.work.reading import BEGINNINGS, LONG_WORDS, PARTIES
from novapulse.work.store import TASKS, task_document

_BATCH = 500
_DERIVED = (PARTIES, BEGINNINGS, LONG_WORDS)


async def _apply(db: Database) -> None:
    rows = db.platform(TASKS)
    last = ""
    while True:
        where = {"_id": {"$gt": last}, PARTIES: {"$exists": False}}
        found = await rows.find(where, sort=(("_id", 1),), limit=_BATCH)
        if not found:
            return
        writes = []
        for row in found:
            kept = task_document(from_document(row, Task))
            derived = {name: kept[name] for name in _DERIVED}
            writes.append(UpdateOne({"_id": row["_id"]}, {"$set": derived}))
        await rows.bulk(writes)
        last = found[-1]["_id"]


MIGRATION = Migration(1, "Read tasks by parties and words", _apply)
