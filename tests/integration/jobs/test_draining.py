"""SIGTERM, pause and cancel: what runs ends, what waits goes back, and nothing is done twice."""

import asyncio
import time
from typing import Any

import pytest

from novapulse.core.jobs.admin import JobAdmin
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Queue
from novapulse.core.jobs.presence import CONSUMERS, QUEUES
from novapulse.core.jobs.rows import JOBS
from tests.support.consumers import EFFECTS, consumers
from tests.support.engine import Engine, declared, until


def admin(engine: Engine) -> JobAdmin:
    return JobAdmin(engine.db.platform(JOBS), engine.db.platform(QUEUES))


async def test_a_drain_waits_for_what_runs_and_gives_the_rest_back(engine: Engine) -> None:
    started: list[str] = []
    may_end = asyncio.Event()

    async def work(ctx: JobContext) -> None:
        started.append(ctx.job.id)
        await may_end.wait()

    with declared(work) as kind:
        await engine.add(kind, number=60)
        worker = engine.worker(concurrency=4)
        running = asyncio.create_task(worker.run(drain_seconds=10))
        await until(lambda: len(started) == 4, what="four jobs")
        worker.stop()
        await until(lambda: not worker._ready, what="the rest to be given back")
        may_end.set()
        await asyncio.wait_for(running, 10)
    assert await engine.states() == {"completed": 4, "available": 56}
    rows = await engine.rows()
    assert {row["attempt"] for row in rows if row["state"] == "available"} == {0}
    assert not any("lapses" in row or "lease" in row for row in rows)
    assert len(started) == 4


async def test_what_outlasts_the_drain_goes_back_and_no_attempt_is_spent(engine: Engine) -> None:
    started = asyncio.Event()

    async def hang(ctx: JobContext) -> None:
        started.set()
        await asyncio.sleep(60)

    with declared(hang) as kind:
        job_id = await engine.add_one(kind)
        worker = engine.worker()
        running = asyncio.create_task(worker.run(drain_seconds=0.3))
        await started.wait()
        worker.stop()
        began = time.monotonic()
        await asyncio.wait_for(running, 5)
        assert time.monotonic() - began < 3
    row = await engine.row(job_id)
    assert (row["state"], row["attempt"]) == ("available", 0)
    assert "errors" not in row


async def test_a_job_that_ends_although_it_is_cut_off_has_ended(engine: Engine) -> None:
    started = asyncio.Event()
    effects: list[str] = []

    async def insist(ctx: JobContext) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            effects.append(ctx.job.id)

    with declared(insist) as kind:
        job_id = await engine.add_one(kind)
        worker = engine.worker()
        running = asyncio.create_task(worker.run(drain_seconds=0.1))
        await started.wait()
        worker.stop()
        await asyncio.wait_for(running, 5)
    assert (await engine.row(job_id))["state"] == "completed"
    assert effects == [job_id]


async def test_a_worker_that_is_stopped_at_once_leaves_no_trace(engine: Engine) -> None:
    async def nothing(ctx: JobContext) -> None: ...

    with declared(nothing) as kind:
        await engine.add(kind, number=10)
        worker = engine.worker(owner="short/1")
        worker.stop()
        await asyncio.wait_for(worker.run(drain_seconds=5), 10)
    assert await engine.states() == {"available": 10}
    assert await engine.db.platform(CONSUMERS).find({}, limit=10) == []


async def test_a_paused_queue_starts_nothing_and_goes_on_when_resumed(engine: Engine) -> None:
    ran: list[str] = []

    async def work(ctx: JobContext) -> None:
        ran.append(ctx.job.id)
        await asyncio.sleep(0.02)

    with declared(work) as kind:
        async with engine.working(concurrency=2):
            await engine.add(kind, number=200)
            await until(lambda: len(ran) > 5, what="some to run")
            await admin(engine).set_paused(Queue.EMAIL, is_paused=True)
            engine.runtime.bell.ring("email")

            async def is_quiet() -> bool:
                return (await engine.states())["running"] == 0

            await until(is_quiet, what="the running ones to end", seconds=5)
            before = len(ran)
            assert before < 200
            await engine.add(kind)
            await asyncio.sleep(1.2)
            assert len(ran) == before
            assert (await engine.states())["available"] == 201 - before
            await admin(engine).set_paused(Queue.EMAIL, is_paused=False)
            engine.runtime.bell.ring("email")
            resumed = time.monotonic()
            await until(lambda: len(ran) > before, what="the queue to go on")
            assert time.monotonic() - resumed < 1.0
            await engine.until_all("completed", 201)
    assert len(set(ran)) == len(ran) == 201


async def test_pausing_one_queue_leaves_the_others_alone(engine: Engine) -> None:
    async def nothing(ctx: JobContext) -> None: ...

    await admin(engine).set_paused(Queue.WORKFLOW, is_paused=True)
    with declared(nothing) as kind:
        async with engine.working():
            await engine.until_state(await engine.add_one(kind), "completed")


async def test_a_waiting_job_is_cancelled_at_once(engine: Engine) -> None:
    async def nothing(ctx: JobContext) -> None: ...

    with declared(nothing) as kind:
        job_id = await engine.add_one(kind, delay_seconds=0.1, key="one")
        assert (await admin(engine).cancel(job_id, by="tests")).state == "cancelled"
        await asyncio.sleep(0.15)
        async with engine.working():
            await engine.until_state(await engine.add_one(kind), "completed")
    row = await engine.row(job_id)
    assert (row["state"], row["attempt"]) == ("cancelled", 0)
    assert not row.keys() & {"dueAt", "openKey"}


async def test_a_running_job_is_cancelled_within_two_seconds(engine: Engine) -> None:
    ended: list[str] = []
    started = asyncio.Event()

    async def hang(ctx: JobContext) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(ctx.job.id)

    with declared(hang) as kind:
        async with engine.working(concurrency=1):
            job_id = await engine.add_one(kind)
            await started.wait()
            assert (await admin(engine).cancel(job_id, by="tests")).state == "running"
            asked = time.monotonic()
            row = await engine.until_state(job_id, "cancelled", seconds=5)
            assert time.monotonic() - asked < 2.0
            assert ended == [job_id]
            assert row["errors"][-1]["message"] == "it was cancelled while it ran"
            assert "finishedAt" in row
            started.clear()  # the slot is free again
            other = await engine.add_one(kind)
            await started.wait()
            await admin(engine).cancel(other, by="tests")


async def test_a_claimed_job_that_has_not_started_is_cancelled_as_soon(engine: Engine) -> None:
    may_end = asyncio.Event()
    started: list[str] = []

    async def work(ctx: JobContext) -> None:
        started.append(ctx.job.id)
        if len(started) == 150:  # short ones so far: the worker claims ahead
            await may_end.wait()

    with declared(work) as kind:
        ids = await engine.add(kind, number=300)
        async with engine.working(concurrency=1) as worker:
            await until(lambda: len(started) == 150 and worker._ready, what="some to be ahead")
            chosen = worker._ready[-1].id
            await admin(engine).cancel(chosen, by="tests")
            await engine.until_state(chosen, "cancelled", seconds=3)
            may_end.set()
            await engine.until_all("completed", 299)
    assert sorted(started) == sorted(set(ids) - {chosen})


@pytest.mark.parametrize("fails", [True, False])
async def test_a_cancelled_job_that_ends_first_does_not_come_back(
    engine: Engine, fails: bool
) -> None:
    may_end, started = asyncio.Event(), asyncio.Event()

    async def work(ctx: JobContext) -> None:
        started.set()
        await may_end.wait()
        if fails:
            raise ValueError("just before")

    with declared(work) as kind:
        async with engine.working():
            job_id = await engine.add_one(kind)
            await started.wait()
            await admin(engine).cancel(job_id, by="tests")
            may_end.set()
            row = await engine.until_state(job_id, "cancelled" if fails else "completed")
    assert row["attempt"] == 1
    assert not row.keys() & {"dueAt", "lease", "openKey"}


async def test_a_cancelled_job_is_cancelled_also_by_the_drain_that_cuts_it_off(
    engine: Engine,
) -> None:
    started = asyncio.Event()

    async def hang(ctx: JobContext) -> None:
        started.set()
        await asyncio.sleep(60)

    with declared(hang) as kind:
        job_id = await engine.add_one(kind)
        worker = engine.worker()
        running = asyncio.create_task(worker.run(drain_seconds=0))
        await started.wait()
        await admin(engine).cancel(job_id, by="tests")
        worker.stop()
        await asyncio.wait_for(running, 5)
    row = await engine.row(job_id)
    assert row["state"] == "cancelled"
    assert not row.keys() & {"dueAt", "lease"}


async def effects(engine: Engine) -> list[dict[str, Any]]:
    return await engine.db.platform(EFFECTS).find({}, limit=10_000)


def declared_programs() -> Any:
    """The kinds of `tests.support.consumers`, for making rows here."""

    async def nothing(ctx: JobContext) -> None: ...

    return (
        declared(nothing, kind="test.quick"),
        declared(nothing, kind="test.slow"),
        declared(nothing, kind="test.kills"),
    )


@pytest.mark.slow
async def test_sigterm_loses_nothing_and_repeats_nothing(engine: Engine) -> None:
    quick, slow, _ = declared_programs()
    with quick, slow:
        ids = await engine.add("test.quick", number=600)
        ids += await engine.add("test.slow", number=10)
    for _ in range(3):
        async with consumers(engine, number=2, concurrency=20, slow_seconds=0.5) as running:
            await asyncio.sleep(0.1)
            for one in running:
                one.terminate()
            for one in running:
                assert await one.exit_code(seconds=12) == 0
        states = await engine.states()
        assert set(states) <= {"available", "completed"}
        if states["available"] == 0:
            break
    async with consumers(engine, number=1, concurrency=20):
        await engine.until_all("completed", len(ids))
    done = [row["jobId"] for row in await effects(engine)]
    assert len(done) == len(set(done)) == len(ids)
    assert {row["attempt"] for row in await engine.rows()} == {1}


@pytest.mark.slow
@pytest.mark.chaos
async def test_killed_consumers_lose_nothing_and_repeat_little(engine: Engine) -> None:
    from novapulse.core.jobs import upkeep

    quick, _, _ = declared_programs()
    with quick:
        ids = await engine.add("test.quick", number=800)
    kills, concurrency = 3, 20
    for _ in range(kills):
        async with consumers(engine, number=1, concurrency=concurrency) as (one,):
            await asyncio.sleep(0.15)
            one.kill()
            gone = {"$in": [one.owner]}
            await upkeep.release_held(engine.db, gone, reason="its consumer ended")
    async with consumers(engine, number=1, concurrency=concurrency):
        await engine.until_all("completed", len(ids))
    done = [row["jobId"] for row in await effects(engine)]
    assert set(done) == set(ids)
    assert len(done) - len(ids) <= kills * concurrency * 5  # running, and unwritten outcomes


@pytest.mark.slow
async def test_a_kind_that_kills_its_program_is_dead_and_its_neighbours_are_done(
    engine: Engine,
) -> None:
    from novapulse.core.jobs import upkeep

    quick, _, kills = declared_programs()
    with quick, kills:
        await engine.add("test.quick", number=50)
        killer = await engine.add_one("test.kills")
        await engine.add("test.quick", number=50)
    for _ in range(3):
        async with consumers(engine, number=1, concurrency=10) as (one,):
            await one.exit_code(seconds=20)
            gone = {"$in": [one.owner]}
            await upkeep.release_held(engine.db, gone, reason="its consumer ended")
    async with consumers(engine, number=1):
        await engine.until_all("completed", 100)
    row = await engine.row(killer)
    assert (row["state"], row["lapses"]) == ("dead", 3)
