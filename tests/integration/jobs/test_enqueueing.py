"""Enqueueing: with its cause or not at all, once a key, and only what can work."""

import asyncio
import math
from typing import Any

import pytest

from novapulse.core.errors import Error, Invalid, TooLarge, TransientConflict
from novapulse.core.jobs.admin import JobAdmin, JobFilter
from novapulse.core.jobs.backoff import Fixed
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Priority, Queue
from novapulse.core.jobs.presence import QUEUES
from novapulse.core.jobs.rows import JOBS, MAX_PAYLOAD_BYTES
from novapulse.core.jobs.states import State
from tests.support.engine import COMPANY, OTHER, Engine, declared


async def work(ctx: JobContext, *, text: str = "") -> None: ...


async def enqueue(engine: Engine, kind: str, *, company_id: str = COMPANY, **options: Any) -> str:
    """As a request does: again when two transactions met."""
    while True:
        try:
            async with engine.transaction(company_id) as tx:
                return await tx.enqueue(kind, {}, **options)
        except TransientConflict:
            await asyncio.sleep(0.01)


async def test_a_job_is_there_when_its_cause_is(engine: Engine) -> None:
    with declared(work) as kind:
        async with engine.transaction() as tx:
            job_id = await tx.enqueue(kind, {"text": "hello"})
            assert await engine.rows() == []
        row = await engine.row(job_id)
    assert (row["companyId"], row["state"], row["requestId"]) == (COMPANY, "available", "test")


async def test_a_job_is_not_there_when_its_cause_failed(engine: Engine) -> None:
    async def cause(kind: str) -> None:
        async with engine.transaction() as tx:
            await tx.enqueue(kind, {})
            raise ValueError("no")

    with declared(work) as kind, pytest.raises(ValueError, match="no"):
        await cause(kind)
    assert await engine.rows() == []


async def test_every_option_of_enqueue_is_on_the_row(engine: Engine) -> None:
    with declared(work) as kind:
        async with engine.transaction() as tx:
            job_id = await tx.enqueue(
                kind,
                {},
                attempts=9,
                backoff=Fixed(seconds=7),
                delay=60,
                priority=Priority.HIGH,
                key="k",
            )
        row = await engine.row(job_id)
    assert (row["maxAttempts"], row["priority"], row["key"]) == (9, 0, "k")
    assert row["backoff"] == {"type": "fixed", "seconds": 7, "jitter": 0.2}
    assert (row["dueAt"] - row["createdAt"]).total_seconds() == 60
    assert row["state"] == "scheduled"


async def test_twenty_parallel_enqueues_of_one_key_make_one_job(engine: Engine) -> None:
    with declared(work) as kind:
        ids = await asyncio.gather(*(enqueue(engine, kind, key="only") for _ in range(20)))
    assert len(set(ids)) == 1
    assert [row["_id"] for row in await engine.rows()] == [ids[0]]


async def test_a_key_given_twice_in_one_transaction_makes_one_job(engine: Engine) -> None:
    with declared(work) as kind:
        async with engine.transaction() as tx:
            first = await tx.enqueue(kind, {}, key="only")
            assert await tx.enqueue(kind, {}, key="only") == first
            assert await tx.enqueue(kind, {}, key="other") != first
    assert len(await engine.rows()) == 2


async def test_a_key_is_a_companys_and_a_kinds_own(engine: Engine) -> None:
    with declared(work) as one, declared(work) as other:
        await enqueue(engine, one, key="k")
        await enqueue(engine, other, key="k")
        await enqueue(engine, one, key="k", company_id=OTHER)
        await enqueue(engine, one)
        await enqueue(engine, one)
    assert len(await engine.rows()) == 5


async def test_a_key_is_free_again_when_its_job_has_ended(engine: Engine) -> None:
    with declared(work) as kind:
        first = await enqueue(engine, kind, key="k")
        async with engine.working():
            await engine.until_state(first, "completed")
        second = await enqueue(engine, kind, key="k")
        assert second != first
        assert await enqueue(engine, kind, key="k") == second


async def test_a_key_is_held_while_the_job_waits_for_its_retry(engine: Engine) -> None:
    async def fail(ctx: JobContext) -> None:
        raise ValueError("no")

    with declared(fail, backoff=Fixed(seconds=3_600)) as kind:
        first = await enqueue(engine, kind, key="k")
        async with engine.working():
            await engine.until_state(first, "retryable")
        assert await enqueue(engine, kind, key="k") == first


@pytest.mark.parametrize(
    ("kind", "payload", "options", "error"),
    [
        ("no.such", {}, {}, Invalid),
        ("", {"unknown": 1}, {}, Invalid),
        ("", {}, {"delay": -1}, Invalid),
        ("", {}, {"delay": math.nan}, Invalid),
        ("", {}, {"delay": 400 * 86_400}, Invalid),
        ("", {}, {"attempts": 0}, Invalid),
        ("", {}, {"attempts": 51}, Invalid),
        ("", {"text": "x" * MAX_PAYLOAD_BYTES}, {}, TooLarge),
    ],
)
async def test_what_can_not_work_is_refused_and_takes_its_cause_along(
    engine: Engine,
    kind: str,
    payload: dict[str, Any],
    options: dict[str, Any],
    error: type[Error],
) -> None:
    async def cause(known: str) -> None:
        async with engine.transaction() as tx:
            await tx.enqueue(known, {})
            await tx.enqueue(kind or known, payload, **options)

    with declared(work) as known, pytest.raises(error):
        await cause(known)
    assert await engine.rows() == []


async def test_a_payload_of_exactly_the_limit_is_taken(engine: Engine) -> None:
    with declared(work) as kind:
        text = "x" * (MAX_PAYLOAD_BYTES - len('{"text":""}'))
        job_id = await engine.add_one(kind, {"text": text})
        async with engine.working():
            await engine.until_state(job_id, "completed")


def admin(engine: Engine) -> JobAdmin:
    return JobAdmin(engine.db.platform(JOBS), engine.db.platform(QUEUES))


async def test_retrying_all_skips_those_whose_key_is_taken(engine: Engine) -> None:
    with declared(work) as kind:
        for _ in range(3):
            job_id = await enqueue(engine, kind, key="k")
            await engine.db.raw["jobs"].update_one(
                {"_id": job_id},
                [
                    {"$set": {"state": "dead", "finishedAt": "$$NOW"}},
                    {"$unset": ["dueAt", "openKey"]},
                ],
            )
        other = await engine.add_one(kind)
        await admin(engine).cancel(other, by="tests")
        chosen = JobFilter(queue=Queue.EMAIL, state=State.DEAD)
        assert await admin(engine).count(chosen) == 3
        (first,) = await admin(engine).retriable(chosen, limit=2)
        assert await admin(engine).retry_all(chosen, [first]) == 1
        assert await engine.states() == {"available": 1, "dead": 2, "cancelled": 1}
        assert await admin(engine).retriable(chosen, limit=2) == []
        left = [row["_id"] for row in await engine.rows() if row["state"] == "dead"]
        with pytest.raises(TransientConflict):  # the key was taken after a look
            await admin(engine).retry_all(chosen, left)


async def test_retrying_finds_what_is_behind_many_whose_key_is_taken(engine: Engine) -> None:
    with declared(work) as kind:
        for _ in range(5):
            blocked = await enqueue(engine, kind, key="k")
            await admin(engine).cancel(blocked, by="tests")
        await enqueue(engine, kind, key="k")
        free = await engine.add(kind, number=3)
        for job_id in free:
            await admin(engine).cancel(job_id, by="tests")
        chosen = JobFilter(queue=Queue.EMAIL, state=State.CANCELLED)
        assert await admin(engine).retriable(chosen, limit=2) == free[:2]
        assert await admin(engine).retriable(chosen, limit=9) == free


async def test_a_waiting_job_holds_its_own_key(engine: Engine) -> None:
    with declared(work) as kind:
        job_id = await enqueue(engine, kind, key="k", delay=600)
        chosen = JobFilter(queue=Queue.EMAIL, state=State.SCHEDULED)
        assert await admin(engine).retriable(chosen, limit=9) == [job_id]
        assert await admin(engine).retry_all(chosen, [job_id]) == 1
        assert await engine.states() == {"available": 1}


async def test_a_retried_job_has_all_its_attempts_once_more(engine: Engine) -> None:
    async def fail(ctx: JobContext) -> None:
        raise ValueError("no")

    with declared(fail, attempts=2, backoff=Fixed(seconds=0, jitter=0)) as kind:
        async with engine.working():
            job_id = await engine.add_one(kind)
            await engine.until_state(job_id, "dead")
            await admin(engine).retry(job_id)
            await engine.until_state(job_id, "dead")
            row = await engine.row(job_id)
            while row["attempt"] < 4:
                await asyncio.sleep(0.02)
                row = await engine.until_state(job_id, "dead")
    assert row["attempt"] == row["maxAttempts"] == 4
    assert len(row["errors"]) == 4


async def test_clearing_deletes_what_was_counted_and_nothing_that_runs(engine: Engine) -> None:
    go_on, started = asyncio.Event(), asyncio.Event()

    async def hold(ctx: JobContext) -> None:
        started.set()
        await go_on.wait()

    with declared(hold) as kind:
        async with engine.working(concurrency=1):
            await engine.add_one(kind)
            await started.wait()
            await engine.add(kind, number=30, delay_seconds=3_600)
            await engine.add(kind, number=20, delay_seconds=3_600, company_id=OTHER)
            scheduled = JobFilter(queue=Queue.EMAIL, state=State.SCHEDULED)
            assert await admin(engine).count(scheduled) == 50
            ids = await admin(engine).clearable(scheduled, limit=99)
            assert await admin(engine).clear(scheduled, ids) == 50
            assert await engine.states() == {"running": 1}
            go_on.set()
            await engine.until_all("completed", 1)


async def test_what_is_due_is_available_also_for_a_filter(engine: Engine) -> None:
    with declared(work) as kind:
        now = await engine.add_one(kind)
        soon = await engine.add_one(kind, delay_seconds=0.05)
        later = await engine.add_one(kind, delay_seconds=3_600)
        await asyncio.sleep(0.1)

        async def ids(state: State) -> set[str]:
            chosen = JobFilter(queue=Queue.EMAIL, state=state)
            return {job.id for job in await admin(engine).page(chosen, before=None, limit=9)}

        assert await ids(State.AVAILABLE) == {now, soon}
        assert await ids(State.SCHEDULED) == {later}
