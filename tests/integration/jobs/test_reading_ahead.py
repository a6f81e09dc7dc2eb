"""A consumer under load reads on while it claims; one that was idle reads at a glance."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from novapulse.core.errors import Unavailable
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.intake import GLANCE
from novapulse.core.jobs.kinds import Priority
from novapulse.core.jobs.ledger import Ledger, Look
from novapulse.core.mongo import Document
from tests.support.engine import COMPANY, OTHER, Engine, declared, until

EACH = 1_500


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Ledger]:
    """Who looked at all companies, once for each look."""
    made: list[Ledger] = []
    look = Ledger.look

    async def noted(ledger: Ledger, *, limit: int) -> Look:
        made.append(ledger)
        return await look(ledger, limit=limit)

    monkeypatch.setattr(Ledger, "look", noted)
    return made


@pytest.mark.parametrize("fails", [False, True])
async def test_a_long_backlog_is_done_once_and_in_order(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """The second time no read beside a claim succeeds."""
    order: list[tuple[int, Any]] = []
    ahead: list[int] = []
    candidates = Ledger.candidates

    async def noted(
        ledger: Ledger, company: str | None, limit: int, *, behind: Sequence[Document] = ()
    ) -> list[Document]:
        found = await candidates(ledger, company, limit, behind=behind)
        if behind:
            ahead.append(len(found))
            assert not {row["_id"] for row in found} & {row["_id"] for row in behind}
            if fails:
                raise Unavailable
        return found

    async def work(ctx: JobContext) -> None:
        order.append((ctx.job.priority, ctx.job.created_at))

    monkeypatch.setattr(Ledger, "candidates", noted)
    with declared(work) as kind:
        for priority in (Priority.LOW, Priority.HIGH, Priority.NORMAL):
            await engine.add(kind, number=EACH, priority=priority)
        async with engine.working(concurrency=50):
            await engine.until_all("completed", 3 * EACH)
    assert sum(ahead) > EACH, "most of it was read while something else was claimed"
    assert order == sorted(order)
    assert {row["attempt"] for row in await engine.rows()} == {1}


async def test_two_that_read_ahead_do_every_job_once(engine: Engine) -> None:
    done: Counter[str] = Counter()

    async def work(ctx: JobContext) -> None:
        done[ctx.job.id] += 1

    with declared(work) as kind:
        for company in (COMPANY, OTHER):
            await engine.add(kind, number=EACH, company_id=company)
        async with engine.working(concurrency=50), engine.working(concurrency=50):
            await engine.until_all("completed", 2 * EACH)
    assert set(done.values()) == {1}
    assert len(done) == 2 * EACH


async def test_jobs_that_come_one_by_one_need_no_look_at_all_companies(
    engine: Engine, looks: list[Ledger]
) -> None:
    done: list[str | None] = []

    async def work(ctx: JobContext) -> None:
        done.append(ctx.job.company_id)

    with declared(work) as kind:
        async with engine.working():
            await engine.add_one(kind)
            await until(lambda: len(done) == 1, what="the first one")
            before = len(looks)
            for number in range(30):
                await engine.add_one(kind, company_id=(COMPANY, OTHER)[number % 2])
                await until(lambda count=number + 2: len(done) == count, what="it to run")
            # A second without anything due may have passed on a machine that is busy.
            assert len(looks) - before <= 3
            await engine.add(kind, number=3 * GLANCE)
            await until(lambda: len(done) == 31 + 3 * GLANCE, what="more than a glance shows")
            assert len(looks) - before >= 1
    assert Counter(done)[OTHER] == 15


async def test_what_is_due_soon_runs_then_while_others_keep_coming(engine: Engine) -> None:
    starts: dict[str, float] = {}
    loop = asyncio.get_running_loop()

    async def work(ctx: JobContext) -> None:
        starts[ctx.job.id] = loop.time()

    with declared(work) as kind:
        async with engine.working():
            await engine.add_one(kind)
            await until(lambda: bool(starts), what="the first one")
            asked = loop.time()
            later = await engine.add_one(kind, company_id=OTHER, delay_seconds=1.5)
            others = []
            while later not in starts:
                assert loop.time() - asked < 30
                others.append(await engine.add_one(kind))
                await asyncio.sleep(0.05)
        waited = starts[later] - asked
        behind = [one for one in others if starts.get(one, loop.time()) < starts[later]]
    assert waited >= 1.4
    # It ran among those that came at that moment, not after a look much later.
    assert len(behind) <= 1 + (waited + 0.5) / 0.05
