"""Do writers of one company get in each other's way? Tasks a second of one against many.

Sixteen writers create tasks over the API, in turn all in one company and each
in its own. No transaction may touch what a whole company shares, so the two
rates should be about the same: the aim is a ratio of at least 0.8.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.appliance import (
    OPEN_CONFIG,
    PASSWORD,
    Appliance,
    Client,
    appliance_in_temporary_root,
    note,
)

WRITERS = 16
ROUNDS = 5
ROUND_SECONDS = 3.0
CONFIG = OPEN_CONFIG + '\n[registration]\nmode = "open"\n'


def register(appliance: Appliance, number: int) -> dict[str, str]:
    """The headers of a further company's founder."""
    command = {
        "companyName": f"Company {number}",
        "name": "Ada",
        "email": f"ada@company-{number}.example",
        "password": PASSWORD,
    }
    signed_in = Client(appliance).post("/auth/register", command).must(201)
    return {"Authorization": f"Bearer {signed_in['accessToken']}"}


async def tasks_a_second(
    session: aiohttp.ClientSession, url: str, accounts: list[dict[str, str]]
) -> float:
    """One round: a writer for each account, one task after the other."""
    until = time.perf_counter() + ROUND_SECONDS

    async def write(headers: dict[str, str]) -> int:
        written = 0
        while time.perf_counter() < until:
            async with session.post(url, json={"title": "benchmark"}, headers=headers) as answer:
                assert answer.status == 201, await answer.text()
                await answer.read()
            written += 1
        return written

    started = time.perf_counter()
    written = await asyncio.gather(*map(write, accounts))
    return sum(written) / (time.perf_counter() - started)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as one:
        yield one


async def test_writers_of_one_company_are_as_fast_as_writers_of_many(
    session: aiohttp.ClientSession,
):
    with appliance_in_temporary_root(CONFIG) as appliance:
        appliance.start()
        alone = appliance.found_company().headers
        many = [register(appliance, number) for number in range(WRITERS)]
        url = f"{appliance.url}/api/v1/tasks"
        await tasks_a_second(session, url, [alone, *many])  # warms up, counts for nothing
        rates: dict[str, list[float]] = {"one company": [], "many companies": []}
        for _ in range(ROUNDS):
            rates["one company"].append(await tasks_a_second(session, url, [alone] * WRITERS))
            rates["many companies"].append(await tasks_a_second(session, url, many))
    ratios = [
        one / other
        for one, other in zip(rates["one company"], rates["many companies"], strict=True)
    ]
    for name, found in rates.items():
        note(f"{WRITERS} writers in {name:>14}: {statistics.median(found):7.0f} tasks/s")
    rounds = " ".join(f"{ratio:.2f}" for ratio in ratios)
    note(f"ratio one/many: {statistics.median(ratios):.2f} (rounds: {rounds}; aim ≥ 0.80)")
