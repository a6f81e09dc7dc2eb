"""Reports made in this process: a worker on the queue, and what came of it."""

import asyncio
import csv
import ctypes
import gc
import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from novapulse.core.documents import new_object_id
from novapulse.core.jobs.kinds import Queue
from novapulse.core.tasks import end_all
from novapulse.reports.store import BUCKET
from tests.support.api import Answer, Api, Person
from tests.support.engine import Engine, until

_AT_ONCE = 1_000


def engine_of(api: Api) -> Engine:
    return Engine(api.runtime, api.loaded.settings.mongo.uri, api.loaded.settings.redis.url)


@asynccontextmanager
async def making(api: Api) -> AsyncIterator[None]:
    """Reports that are asked for meanwhile are made."""
    async with engine_of(api).working(Queue.REPORT, concurrency=2):
        yield


async def ask_for(person: Person, kind: str, form: str, **params: Any) -> dict[str, Any]:
    answer = await person.post("/reports", {"kind": kind, "format": form, "params": params})
    assert answer.status == 202, answer.body
    asked: dict[str, Any] = answer.json()
    return asked


async def read(person: Person, report_id: str) -> dict[str, Any]:
    answer = await person.get(f"/reports/{report_id}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


async def until_over(person: Person, report_id: str, *, seconds: float = 20) -> dict[str, Any]:
    """The report once it is ready or failed."""

    async def is_over() -> bool:
        return (await read(person, report_id))["status"] not in ("queued", "running")

    await until(is_over, what="the report to be over", seconds=seconds)
    return await read(person, report_id)


async def made(person: Person, kind: str, form: str, **params: Any) -> dict[str, Any]:
    """A report that is ready."""
    asked = await ask_for(person, kind, form, **params)
    report = await until_over(person, asked["id"])
    assert report["status"] == "ready", report
    return report


async def download(person: Person, report_id: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return await person.get(f"/reports/{report_id}/download", headers=named)


async def content(person: Person, report_id: str) -> bytes:
    answer = await download(person, report_id)
    assert answer.status == 200, answer.body
    return answer.body


def of_csv(body: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body.decode(), newline="")))


def of_ndjson(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


async def files(api: Api) -> tuple[set[str], set[str]]:
    """Ids of the files that are whole, and of those that have chunks."""
    whole = await api.runtime.db.platform(f"{BUCKET}.files").find({}, limit=10_000)
    chunks = await api.runtime.db.platform(f"{BUCKET}.chunks").find({}, limit=10_000)
    return {row["_id"] for row in whole}, {row["files_id"] for row in chunks}


async def fill(api: Api, person: Person, number: int, **fields: Any) -> None:
    """So many tasks of the person's company, straight in the database, an hour old."""
    now = api.runtime.clock() - timedelta(hours=1)
    common = {
        "companyId": person.company_id,
        "status": "todo",
        "priority": "low",
        "createdBy": person.id,
        "parties": [person.id],
        "labels": [],
        "updatedAt": now,
        "version": 1,
    }
    tasks = api.runtime.db.platform("tasks")
    for first in range(0, number, _AT_ONCE):
        rows = [
            {
                **common,
                "_id": new_object_id(),
                "title": f"Task {one} of many, with a name of some length",
                "createdAt": now + timedelta(milliseconds=one // 10),
                **fields,
            }
            for one in range(first, min(number, first + _AT_ONCE))
        ]
        await tasks.insert_many(rows)


class Memory:
    """How much more of it this process had at most while it was watched, in MiB."""

    def __init__(self) -> None:
        self._before = _resident_mib()
        self.growth = 0.0

    async def watch(self) -> None:
        while True:
            self.growth = max(self.growth, _resident_mib() - self._before)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watched_memory() -> AsyncIterator[Memory]:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed must not count as room to grow into
    memory = Memory()
    watching = asyncio.create_task(memory.watch())
    try:
        yield memory
    finally:
        await end_all((watching,))


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def age(api: Api, report_id: str, by: timedelta) -> None:
    """As if the report had been finished so long ago."""
    rows = api.runtime.db.platform("reports")
    found = await rows.find_one({"_id": report_id})
    assert found is not None
    change = {"expiresAt": found["expiresAt"] - by}
    await rows.update_one({"_id": report_id}, {"$set": change})
