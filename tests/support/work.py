"""A company with very many tasks, put into the database without the API."""

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
from pymongo import IndexModel, WriteConcern

from novapulse.core.documents import new_object_id
from novapulse.core.mongo import Database
from novapulse.work.model import Priority, Status, Task
from novapulse.work.store import INDEXES, TASKS, task_document

NOW = datetime(2026, 11, 23, tzinfo=UTC)
# Most tasks of an old company are done.
STATUSES = [Status.DONE] * 14 + [Status.CANCELLED] * 2 + [Status.TODO, Status.IN_PROGRESS] * 2
VERBS = ("Review", "Revise", "Water", "Paint", "Call", "Order", "Move", "Check", "Plan", "Write")
THINGS = ("plants", "office", "invoice", "report", "contract", "window", "server", "website")
BATCH, AT_ONCE = 1_000, 3


@dataclass(frozen=True)
class Crowd:
    """What the tasks refer to; the first of each has many, the last few."""

    people: list[str]
    projects: list[str]
    labels: list[str]


def make_crowd() -> Crowd:
    return Crowd(
        people=[new_object_id() for _ in range(40)],
        projects=[new_object_id() for _ in range(25)],
        labels=["bug", "garden", "legal", "travel", "rare"],
    )


def _uneven(rng: random.Random, options: list[Any]) -> Any:
    """One of them; the first far more often than the last."""
    return options[int(len(options) * rng.random() ** 2.5)]


def make_task(rng: random.Random, crowd: Crowd, number: int) -> Task:
    created = NOW - timedelta(minutes=number * 5)
    labels = {_uneven(rng, crowd.labels)} if rng.random() < 0.4 else set()
    due = created + timedelta(days=rng.randrange(60)) if rng.random() < 0.7 else None
    return Task(
        id=f"{rng.getrandbits(96):024x}",
        title=f"{rng.choice(VERBS)} the {rng.choice(THINGS)} {number}",
        project_id=_uneven(rng, crowd.projects) if rng.random() < 0.8 else None,
        assignee_id=_uneven(rng, crowd.people) if rng.random() < 0.9 else None,
        status=rng.choice(STATUSES) if number != 99 else Status.REVIEW,
        priority=rng.choice(list(Priority)),
        due_at=due,
        labels=tuple(labels),
        created_by=_uneven(rng, crowd.people),
        created_at=created,
        updated_at=created,
    )


async def insert_tasks(db: Database, company_id: str, *, crowd: Crowd, count: int) -> None:
    """The same tasks each time, but for the crowd's ids.

    Unjournaled, and the indexes are made afterwards: that takes half the time.
    """
    rng = random.Random(20_261_123)
    await db.raw[TASKS].drop_indexes()
    rows = db.raw.get_collection(TASKS, write_concern=WriteConcern(w=1, j=False))
    writing: set[asyncio.Task[Any]] = set()
    for first in range(0, count, BATCH):
        documents = [
            {**task_document(make_task(rng, crowd, number)), "companyId": company_id}
            for number in range(first, min(count, first + BATCH))
        ]
        with pymongo.timeout(60):  # the task takes it along
            writing.add(asyncio.create_task(rows.insert_many(documents, ordered=False)))
        if len(writing) == AT_ONCE:  # the database writes while we make the next ones
            done, writing = await asyncio.wait(writing, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*done)
    await asyncio.gather(*writing)
    with pymongo.timeout(60):
        models = [IndexModel(index["keys"], name=index["name"]) for index in INDEXES[TASKS]]
        await db.raw[TASKS].create_indexes(models)
