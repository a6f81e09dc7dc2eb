"""Companies share a queue: in turn, at most half each, and nobody waits for somebody who sleeps."""

import asyncio
import time
from collections import Counter

import pytest

from novapulse.core.jobs.context import JobContext
from tests.support.engine import COMPANY, OTHER, Engine, declared, until


async def test_a_small_company_is_done_before_a_fiftieth_of_a_large_one(engine: Engine) -> None:
    order: list[str | None] = []

    async def work(ctx: JobContext) -> None:
        order.append(ctx.job.company_id)

    with declared(work) as kind:
        await engine.add(kind, number=3_000, company_id=COMPANY)
        await engine.add(kind, number=10, company_id=OTHER)
        async with engine.working(concurrency=10):
            await until(lambda: order.count(OTHER) == 10, what="the small company's jobs")
            before = order[: len(order) - order[::-1].index(OTHER)].count(COMPANY)
    assert before <= 3_000 * 0.02


async def test_nobody_has_more_than_half_of_the_slots_while_others_wait(engine: Engine) -> None:
    running: Counter[str | None] = Counter()
    most: list[int] = []
    left = Counter({COMPANY: 40, OTHER: 40})

    async def work(ctx: JobContext) -> None:
        company = ctx.job.company_id
        running[company] += 1
        if left[COMPANY] > 10 and left[OTHER] > 10:
            most.append(max(running.values()))
        await asyncio.sleep(0.01)
        running[company] -= 1
        left[str(company)] -= 1

    with declared(work) as kind:
        for company in (COMPANY, OTHER):
            await engine.add(kind, number=40, company_id=company)
        async with engine.working(concurrency=8):
            await engine.until_all("completed", 80)
    assert max(most) <= 4


async def test_who_is_alone_has_all_the_slots(engine: Engine) -> None:
    running: list[str] = []
    go_on = asyncio.Event()

    async def work(ctx: JobContext) -> None:
        running.append(ctx.job.id)
        await go_on.wait()

    with declared(work) as kind:
        await engine.add(kind, company_id=OTHER, number=50, delay_seconds=3_600)
        await engine.add(kind, number=8)
        async with engine.working(concurrency=8):
            await until(lambda: len(running) == 8, what="all slots to be used", seconds=5)
            go_on.set()
            await engine.until_all("completed", 8)


@pytest.mark.parametrize("asleep", [0, 300])
async def test_companies_whose_jobs_are_not_due_cost_the_others_nothing(
    engine: Engine, asleep: int
) -> None:
    done: list[str] = []

    async def work(ctx: JobContext) -> None:
        done.append(ctx.job.id)

    with declared(work) as kind:
        jobs = [
            engine.add(kind, company_id=f"{number:024x}", delay_seconds=3_600)
            for number in range(asleep)
        ]
        await asyncio.gather(*jobs)
        await engine.add(kind, number=1_000)
        looks = 0
        async with engine.working(concurrency=20) as worker:
            ask = worker._ledger.candidates

            async def counted(company_id: str | None, limit: int) -> list[dict[str, object]]:
                nonlocal looks
                looks += 1
                return await ask(company_id, limit)

            worker._ledger.candidates = counted  # type: ignore[method-assign]  # to count them
            await engine.until_all("completed", 1_000)
    assert looks < 100


async def test_thirty_busy_companies_all_have_their_turn(engine: Engine) -> None:
    """More than one claim serves at once: the last in the alphabet must not wait for the first."""
    served: list[str | None] = []

    async def work(ctx: JobContext) -> None:
        served.append(ctx.job.company_id)

    names = [f"{number:024x}" for number in range(30)]
    with declared(work) as kind:
        for name in names:
            await engine.add(kind, company_id=name, number=60)
        async with engine.working(concurrency=16):
            await until(lambda: len(served) >= 600, what="a third of the jobs")
        third = Counter(served[:600])
    assert set(third) == set(names)
    assert max(third.values()) <= 3 * min(third.values())


async def test_a_worker_whose_slots_are_all_shared_out_does_not_spin(engine: Engine) -> None:
    """Five slots, halves of two: one slot stays free although jobs wait."""
    go_on = asyncio.Event()
    running: list[str] = []

    async def work(ctx: JobContext) -> None:
        running.append(ctx.job.id)
        await go_on.wait()

    with declared(work) as kind:
        for company in (COMPANY, OTHER):
            await engine.add(kind, number=20, company_id=company)
        async with engine.working(concurrency=5) as worker:
            await until(lambda: len(running) == 4, what="both halves")
            await asyncio.sleep(0.2)
            asked = 0
            look = worker._ledger.look

            async def counted(*, limit: int):  # type: ignore[no-untyped-def]  # as look's own
                nonlocal asked
                asked += 1
                return await look(limit=limit)

            worker._ledger.look = counted  # type: ignore[method-assign]  # to count them
            await asyncio.sleep(1.0)
            assert asked <= 3
            third = "6b0463ff2132ffe8cf120774"
            began = time.monotonic()
            await engine.add(kind, company_id=third)
            await until(lambda: len(running) == 5, what="the free slot to be used", seconds=5)
            assert time.monotonic() - began < 1.0
            go_on.set()
            await engine.until_all("completed", 41)


async def test_jobs_of_no_company_have_their_turn_as_well(engine: Engine) -> None:
    async def work(ctx: JobContext) -> None: ...

    with declared(work) as kind:
        await engine.add(kind, number=200)
        job_id = await engine.add_one(kind, company_id=None)
        async with engine.working(concurrency=2):
            await engine.until_state(job_id, "completed")
            await engine.until_all("completed", 201)
