"""Who begins to lead does soon all that a leader does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from novapulse.core.errors import StorageFull, TransientConflict, Unavailable
from novapulse.core.jobs.rows import JOBS
from novapulse.core.pump import Pump
from novapulse.processes import scheduler
from novapulse.processes.features import CHORES
from novapulse.processes.scheduler import Scheduler
from novapulse.reports.sweeping import sweep
from novapulse.schedules.service import start_due
from tests.support.api import Api, open_api
from tests.support.engine import until
from tests.support.stores import RunningStores

SOON_SECONDS = 10.0


@pytest.fixture
async def api(stores: RunningStores, tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(stores, tmp_path, label="leading") as one:
        yield one


@asynccontextmanager
async def leading(api: Api) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    one = Scheduler(api.runtime, appliance="tests", owner="tests/one")
    running = asyncio.create_task(one.run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await asyncio.wait_for(running, 10)


async def test_a_new_leader_does_soon_what_is_done_once_an_hour(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    done, times = asyncio.Event(), []

    async def chore(runtime: Any) -> None:
        times.append(runtime)
        done.set()

    monkeypatch.setattr(scheduler, "CHORES", [(chore, 3_600.0)])
    async with leading(api):
        await asyncio.wait_for(done.wait(), SOON_SECONDS)
        await asyncio.sleep(0.2)
    assert times == [api.runtime], "once"


async def test_a_new_leader_frees_what_is_held_by_a_claim_that_is_not_there(api: Api):
    rows = api.runtime.db.platform(JOBS)
    lease = {"owner": "elsewhere/email-1", "claim": "clm_gone"}
    held = {"queue": "email", "companyId": None, "priority": 1, "kind": "mail.send", "attempt": 1}
    await rows.insert({"_id": "job_stray", "state": "running", "lease": lease, **held})

    async def is_free() -> bool:
        row = await rows.find_one({"_id": "job_stray"})
        return row is not None and row["state"] == "available" and "lease" not in row

    async with leading(api):
        await until(is_free, what="the stray job", seconds=SOON_SECONDS)


async def test_a_leader_without_room_goes_on_leading(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def refuse(*_: Any, **__: Any) -> None:
        nonlocal asked
        asked += 1
        raise StorageFull

    monkeypatch.setattr(scheduler, "fail_orphans", refuse)
    monkeypatch.setattr(scheduler, "ORPHANS_SECONDS", 0.02)
    await api.runtime.db.warm_up()
    async with leading(api):
        await until(lambda: asked > 50, what="it to be asked again")


async def test_events_that_met_another_change_are_planned_again_at_once(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    """Not with the next look, which may be far off."""
    monkeypatch.setattr(scheduler, "EVENTS_LOOK_SECONDS", 600.0)
    done, left = asyncio.Event(), 5

    async def meet(pump: Pump) -> int:
        nonlocal left
        if left:
            left -= 1
            raise TransientConflict
        done.set()
        return 0

    monkeypatch.setattr(Pump, "run_once", meet)
    async with leading(api):
        await asyncio.wait_for(done.wait(), SOON_SECONDS)


async def test_a_leader_does_the_chores_whatever_becomes_of_one(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {chore for chore, _ in CHORES} >= {sweep, start_due}
    done: list[str] = []

    def chore(name: str, error: Exception | None) -> Callable[[Any], Any]:
        async def do(runtime: Any) -> None:
            assert runtime is api.runtime
            done.append(name)
            if error is not None:
                raise error

        return do

    chores = [(chore("full", StorageFull()), 0.02), (chore("away", Unavailable()), 0.02)]
    monkeypatch.setattr(scheduler, "CHORES", [*chores, (chore("fine", None), 0.02)])
    await api.runtime.db.warm_up()
    async with leading(api):
        # For long enough to have connected: the driver leaves open what is cancelled meanwhile.
        await until(lambda: min(map(done.count, ("full", "away", "fine"))) > 50, what="the chores")
