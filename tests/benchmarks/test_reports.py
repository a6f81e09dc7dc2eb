"""How long does a report of a million rows take, and how much memory?

The aim is at most 150 MiB more than before, whatever the format. An export over
the API is made of the same rows; its client throws away what it gets.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.api import PASSWORD, Person, _scope, open_api
from tests.support.appliance import note
from tests.support.reports import ask_for, fill, making, until_over, watched_memory
from tests.support.stores import RunningStores

ROWS = 1_000_000
MOST_MIB = 150


@pytest.fixture(scope="module")
async def admin(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Person]:
    async with open_api(stores, tmp_path_factory.mktemp("reports"), label="million") as api:
        admin = await api.found_company()
        started = time.perf_counter()
        await fill(api, admin, ROWS)
        note(f"{ROWS:,} tasks inserted in {time.perf_counter() - started:.0f} s")
        async with making(api):
            yield admin


@pytest.mark.parametrize("form", ["csv", "ndjson", "html"])
async def test_a_report_of_a_million_rows(admin: Person, form: str) -> None:
    started = time.perf_counter()
    async with watched_memory() as memory:
        asked = await ask_for(admin, "task_list", form)
        report = await until_over(admin, asked["id"], seconds=1_800)
    seconds = time.perf_counter() - started
    assert (report["status"], report["rows"]) == ("ready", ROWS)
    size = report["sizeBytes"] / 2**20
    note(f"{form}: {seconds:.0f} s, {size:.0f} MiB, memory grew by {memory.growth:.0f} MiB")
    assert memory.growth <= MOST_MIB


async def test_an_export_of_a_million_rows(admin: Person) -> None:
    assert (await admin.post("/auth/step-up", {"password": PASSWORD})).status == 204
    got = 0

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()  # the client stays until it has all
        raise AssertionError("unreachable")

    async def send(message: dict[str, Any]) -> None:
        nonlocal got
        got += message.get("body", b"").count(b"\n")

    scope = _scope("GET", "/export/tasks.csv", headers=admin.headers, peer=admin.peer)
    started = time.perf_counter()
    async with watched_memory() as memory:
        await admin.app(scope, receive, send)
    assert got == ROWS + 1
    note(f"export: {time.perf_counter() - started:.0f} s, {memory.growth:.0f} MiB")
    assert memory.growth <= MOST_MIB
