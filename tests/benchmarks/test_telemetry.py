"""What being watched costs: a scrape of nine processes, and tracing that is turned off."""

import asyncio
import os
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from novapulse.core import context, http, mongocalls
from novapulse.core.telemetry import tracing
from tests.support.api import Person, open_api
from tests.support.appliance import OPEN_CONFIG, Client, appliance_in_temporary_root, note
from tests.support.stores import RunningStores

SCRAPES = int(os.environ.get("BENCH_SCRAPES", "30"))
ROUNDS = int(os.environ.get("BENCH_TRACING_ROUNDS", "120"))
_REQUESTS = 40
_LONGEST_SCRAPE_SECONDS = 0.05
_NOTHING: AbstractContextManager[None] = nullcontext()


def test_a_scrape_of_four_api_processes_and_five_consumers() -> None:
    more = "[server]\nprocesses = 4\n\n[queues.webhook]\nprocesses = 2\n\n[webhooks]"
    config = OPEN_CONFIG.replace("[webhooks]", more)
    with appliance_in_temporary_root(config) as one:
        one.start()
        admin = one.found_company()
        rows = one.status()["processes"]
        roles = [row["role"].partition(":")[0] for row in rows if row["pid"]]
        assert roles.count("api") == 4
        assert roles.count("consumer") == 5
        for number in range(400):  # every process has its share of series
            admin.create_task(f"number {number}")
            admin.get("/tasks?limit=5").must(200)
            admin.get("/tasks/" + "0" * 24)
        seconds, size = [], 0
        for _ in range(SCRAPES):
            time.sleep(0.5)  # nothing of the last one is warm any more
            began = time.perf_counter()
            size = len(Client(one).get("/metrics").body)
            seconds.append(time.perf_counter() - began)
    middle = statistics.median(seconds)
    late = sum(one > _LONGEST_SCRAPE_SECONDS for one in seconds)
    note(
        f"{len(roles)} processes, {size / 1024:.0f} KiB: the first {seconds[0] * 1_000:.0f} ms, "
        f"median {middle * 1_000:.0f} ms, longest {max(seconds) * 1_000:.0f} ms, "
        f"{late} of {len(seconds)} over {_LONGEST_SCRAPE_SECONDS * 1_000:.0f} ms"
    )
    # What a scrape takes, with room; one in ten may meet something else of the machine's.
    assert middle <= _LONGEST_SCRAPE_SECONDS / 2
    assert late <= len(seconds) // 10


class NoTracing:
    """`tracing` as it would be if nobody had written it: for what its being there costs."""

    @staticmethod
    def span(*_: Any, **__: Any) -> AbstractContextManager[None]:
        return _NOTHING

    @staticmethod
    def enter_request(_: Any) -> None:
        return None

    @staticmethod
    def traceparent() -> None:
        return None


def use(module: Any) -> None:
    for user in (context, http, mongocalls):
        user.tracing = module  # type: ignore[attr-defined]  # the module's own name for it


async def cpu_of(person: Person, ask: Callable[[Person], Any]) -> float:
    """Of this process, for a round of requests."""
    began = time.process_time()
    for _ in range(_REQUESTS):
        assert (await ask(person)).status < 300
    return time.process_time() - began


@pytest.mark.parametrize("path", ["/tasks?limit=20"])
async def test_tracing_that_is_off_costs_nothing(
    stores: RunningStores, tmp_path: Path, path: str
) -> None:
    """Beside the same requests without any of it, in turns; the ratio of each pair counts."""
    async with open_api(stores, tmp_path, label="tracing") as api:
        boss = await api.found_company()

        async def ask(person: Person) -> Any:
            return await person.get(path)

        ratios = []
        try:
            for number in range(ROUNDS):
                order = (tracing, NoTracing) if number % 2 else (NoTracing, tracing)
                took = {}
                for module in order:
                    use(module)
                    took[module] = await cpu_of(boss, ask)
                    await asyncio.sleep(0)
                ratios.append(took[tracing] / took[NoTracing])
        finally:
            use(tracing)
    middle = statistics.median(ratios)
    note(f"{path}: tracing off at {middle:.4f} of a program without it")
    assert middle <= 1.01
