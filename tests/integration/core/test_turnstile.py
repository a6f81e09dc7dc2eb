"""So many changes at once and no more: who waits too long is refused before anything is done."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from novapulse.core.access import SYSTEM
from novapulse.core.context import Context
from novapulse.core.errors import Unavailable
from novapulse.core.turnstile import Turnstile
from tests.support.api import Api, open_api
from tests.support.stores import RunningStores


@pytest.fixture
async def api(stores: RunningStores, tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(stores, tmp_path, label="turnstile") as one:
        await one.runtime.db.platform("rows").insert({"_id": 0})  # else transactions would make it
        yield one


def context(api: Api) -> Context:
    return Context(api.runtime, SYSTEM, request_id="a-request")


async def insert(api: Api, number: int, may_end: asyncio.Event) -> None:
    async with context(api).transaction(company_id="c") as tx:
        await tx.platform("rows").insert({"_id": number})
        # Of the same request, and of no use to make it wait for itself.
        async with context(api).transaction(company_id="c") as other:
            await other.platform("rows").insert({"_id": -number})
        await may_end.wait()


async def test_who_finds_no_place_in_time_is_refused(api: Api) -> None:
    api.runtime.add(Turnstile(2, wait_seconds=0.2))
    may_end = asyncio.Event()
    inside = [asyncio.create_task(insert(api, number, may_end)) for number in (1, 2)]
    await asyncio.sleep(0.1)
    with pytest.raises(Unavailable, match="too much to do"):
        await insert(api, 3, may_end)
    waits = asyncio.create_task(insert(api, 4, may_end))
    await asyncio.sleep(0.05)
    may_end.set()
    await asyncio.gather(*inside, waits)
    rows = await api.runtime.db.platform("rows").find({}, limit=10)
    assert {row["_id"] for row in rows} == {0, 1, -1, 2, -2, 4, -4}


async def test_a_turn_is_given_back_whatever_happens(api: Api) -> None:
    api.runtime.add(Turnstile(1, wait_seconds=0.2))
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            async with context(api).transaction(company_id="c"):
                raise ValueError("no")
    may_end = asyncio.Event()
    first = asyncio.create_task(insert(api, 1, may_end))
    await asyncio.sleep(0.05)
    waits = asyncio.create_task(insert(api, 2, may_end))
    await asyncio.sleep(0.05)
    waits.cancel()
    may_end.set()
    await first
    await insert(api, 3, may_end)
