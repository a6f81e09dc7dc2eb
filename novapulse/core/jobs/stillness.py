"""Whether anything is to be done in the ledger at all, asked with one cheap question.

Whoever looks after all queues would ask each of them for each thing, and mostly hear
that there is nothing.
"""

from typing import NamedTuple

from novapulse.core.jobs.claims import CLAIMS
from novapulse.core.jobs.ledger import CLAIM, CLAIMABLE
from novapulse.core.jobs.rows import JOBS
from novapulse.core.mongo import Database, Document


class Stillness(NamedTuple):
    """`is_still`: no job waits, is scheduled or runs. `rows`: the finished ones, too."""

    is_still: bool
    rows: int


async def look(db: Database) -> Stillness:
    """Two index seeks and a number that MongoDB keeps, however long the queues are.

    A job that comes and ends between two looks is seen by the number of rows.
    """
    one: list[Document] = [{"$limit": 1}, {"$project": {"_id": 0, "open": "$queue"}}]
    held = {"$unionWith": {"coll": CLAIMS, "pipeline": one}}
    count: list[Document] = [{"$collStats": {"count": {}}}, {"$project": {"_id": 0, "count": 1}}]
    size = {"$unionWith": {"coll": JOBS, "pipeline": count}}
    stages = [{"$match": CLAIMABLE}, *one, held, size]
    found = await db.platform(JOBS).aggregate(stages, hint=CLAIM)
    is_still = not any("open" in row for row in found)
    return Stillness(is_still, next((row["count"] for row in found if "count" in row), 0))
