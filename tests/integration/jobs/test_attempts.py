"""One job's life: started, failed, retried, timed out, given up, and what its row shows."""

import asyncio
import os
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from novapulse.core import errors
from novapulse.core.jobs import bell, intake, ledger
from novapulse.core.jobs.backoff import Exponential, Fixed
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Pool, Priority
from novapulse.core.jobs.ledger import Ledger
from novapulse.core.jobs.rows import Policy
from novapulse.core.jobs.states import GiveUp, Retry, Snooze
from tests.support.engine import COMPANY, Engine, declared, until

AT_ONCE = Fixed(seconds=0.0, jitter=0.0)


async def test_a_job_runs_with_its_payload_and_its_row_shows_it(engine: Engine) -> None:
    seen: list[tuple[str, str, str | None]] = []

    async def greet(ctx: JobContext, *, name: str) -> None:
        seen.append((name, ctx.job.id, ctx.principal.company_id))

    with declared(greet) as kind:
        async with engine.working():
            job_id = await engine.add_one(kind, {"name": "Ada"})
            row = await engine.until_state(job_id, "completed")
    assert seen == [("Ada", job_id, COMPANY)]
    assert row["attempt"] == 1
    assert row["createdAt"] <= row["startedAt"] <= row["finishedAt"]
    assert "lease" not in row
    assert "dueAt" not in row
    assert "errors" not in row


async def test_a_worker_that_can_not_renew_its_leases_ends(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs would be given to others while they run."""

    async def refuse(self: Ledger) -> None:
        raise OperationFailure("operation was interrupted", 11601)

    monkeypatch.setattr(Ledger, "tidy", refuse)
    running = asyncio.create_task(engine.worker().run(drain_seconds=0))
    with pytest.raises(OperationFailure, match="interrupted"):
        await asyncio.wait_for(running, 20)


async def test_a_failure_that_is_written_late_is_tried_again_in_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has looked for what is due meanwhile, and would rest until it looks again."""
    for module in (ledger, intake):
        monkeypatch.setattr(module, "GLANCE_SECONDS", 60.0)
    monkeypatch.setattr(bell, "_lonely_seconds", lambda: 60.0)
    finish = Ledger.finish

    async def finish_late(self: Ledger, ended: Any) -> None:
        await asyncio.sleep(0.3)
        await finish(self, ended)

    monkeypatch.setattr(Ledger, "finish", finish_late)

    async def fail(ctx: JobContext) -> None:
        raise ValueError

    with declared(fail, attempts=3, backoff=Fixed(seconds=0.1, jitter=0.0)) as kind:
        async with engine.working():
            await engine.until_state(await engine.add_one(kind), "dead")


async def test_retries_wait_as_their_backoff_says_and_then_the_job_is_dead(
    engine: Engine,
) -> None:
    starts: list[float] = []

    async def fail(ctx: JobContext) -> None:
        starts.append(time.monotonic())
        raise ValueError(f"number {len(starts)}")

    backoff = Exponential(seconds=0.1, jitter=0.0)
    with declared(fail, attempts=5, backoff=backoff) as kind:
        async with engine.working():
            job_id = await engine.add_one(kind)
            row = await engine.until_state(job_id, "dead")
    gaps = [after - before for before, after in pairwise(starts)]
    assert len(gaps) == 4
    lateness = [gap - wanted for gap, wanted in zip(gaps, (0.1, 0.2, 0.4, 0.8), strict=True)]
    # The wait is counted from the write of the failure, and the database's clock has milliseconds.
    assert all(late > -0.002 for late in lateness), gaps
    assert sorted(lateness)[1] < 0.1, gaps
    assert [error["message"] for error in row["errors"]] == [
        f"ValueError: number {number}" for number in range(1, 6)
    ]
    assert [error["attempt"] for error in row["errors"]] == [1, 2, 3, 4, 5]
    assert row["attempt"] == 5


async def test_the_last_ten_errors_are_kept(engine: Engine) -> None:
    async def fail(ctx: JobContext) -> None:
        raise ValueError(str(ctx.job.attempt))

    with declared(fail, attempts=13, backoff=AT_ONCE) as kind:
        async with engine.working():
            row = await engine.until_state(await engine.add_one(kind), "dead")
    assert [error["attempt"] for error in row["errors"]] == list(range(4, 14))


async def test_a_job_that_outlasts_its_timeout_is_a_failure(engine: Engine) -> None:
    async def hang(ctx: JobContext) -> None:
        await asyncio.sleep(60)

    with declared(hang, attempts=1, timeout_seconds=0.2) as kind:
        async with engine.working():
            row = await engine.until_state(await engine.add_one(kind), "dead")
    assert row["errors"][-1]["message"] == "TimeoutError: timed out after 0.2 s"


async def test_giving_up_is_dead_at_once_and_a_snooze_spends_nothing(engine: Engine) -> None:
    snoozes = iter((True, True, False))

    async def give_up(ctx: JobContext) -> None:
        raise GiveUp("the address is wrong")

    async def snooze(ctx: JobContext) -> None:
        if next(snoozes):
            raise Snooze("not now", seconds=0.05)

    with declared(give_up) as one, declared(snooze, attempts=1) as other:
        async with engine.working():
            given_up, snoozed = await engine.add_one(one), await engine.add_one(other)
            dead = await engine.until_state(given_up, "dead")
            done = await engine.until_state(snoozed, "completed")
    assert [error["message"] for error in dead["errors"]] == ["the address is wrong"]
    assert (dead["attempt"], done["attempt"]) == (1, 1)


@pytest.mark.parametrize("error", [errors.Unavailable(), errors.TransientConflict()])
async def test_a_store_that_is_away_spends_no_attempt(engine: Engine, error: Exception) -> None:
    answers = iter((error, None))

    async def ask(ctx: JobContext) -> None:
        if (trouble := next(answers)) is not None:
            raise trouble

    with declared(ask, attempts=1) as kind:
        async with engine.working():
            row = await engine.until_state(await engine.add_one(kind), "completed")
    assert row["attempt"] == 1


async def test_a_handlers_own_wait_replaces_the_backoff(engine: Engine) -> None:
    async def fail(ctx: JobContext) -> None:
        raise Retry("busy", after_seconds=3_600)

    with declared(fail) as kind:
        async with engine.working():
            row = await engine.until_state(await engine.add_one(kind), "retryable")
    late = row["dueAt"] - row["errors"][0]["at"]
    assert timedelta(seconds=3_599) < late < timedelta(seconds=3_601)


class Odd(BaseException):
    pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (asyncio.CancelledError(), "CancelledError: "),
        (SystemExit(3), "SystemExit: 3"),
        (Odd("own"), "Odd: own"),
        (ValueError("name \udcff"), "ValueError: name ?"),
    ],
)
async def test_whatever_a_handler_raises_its_job_ends_and_the_worker_goes_on(
    engine: Engine, error: BaseException, message: str
) -> None:
    async def misbehave(ctx: JobContext) -> None:
        raise error

    async def behave(ctx: JobContext) -> None: ...

    with declared(misbehave, attempts=1) as bad, declared(behave) as good:
        async with engine.working(concurrency=1):
            bad_id, good_id = await engine.add_one(bad), await engine.add_one(good)
            row = await engine.until_state(bad_id, "dead")
            await engine.until_state(good_id, "completed")
    assert row["errors"][-1]["message"] == message


async def test_an_unknown_kind_is_dead_with_that_reason(engine: Engine) -> None:
    async def nothing(ctx: JobContext) -> None: ...

    with declared(nothing, kind="test.forgotten") as kind:
        job_id = await engine.add_one(kind)
    async with engine.working():
        row = await engine.until_state(job_id, "dead")
    assert row["errors"][-1]["message"] == "there is no job kind 'test.forgotten'"


async def test_a_payload_that_no_longer_fits_is_an_error_and_no_crash(engine: Engine) -> None:
    async def before(ctx: JobContext, *, old: int) -> None: ...

    async def after(ctx: JobContext, *, new: int) -> None: ...

    with declared(before, kind="test.changed"):
        job_id = await engine.add_one("test.changed", {"old": 1})
    with declared(after, kind="test.changed", attempts=1):
        await engine.db.raw["jobs"].update_one({"_id": job_id}, {"$set": {"maxAttempts": 1}})
        async with engine.working():
            row = await engine.until_state(job_id, "dead")
    assert "unexpected keyword argument" in row["errors"][-1]["message"]


async def test_a_delayed_job_starts_on_time(engine: Engine) -> None:
    lateness: list[float] = []

    async def look(ctx: JobContext, *, due: float) -> None:
        lateness.append(time.time() - due)

    with declared(look) as kind:
        async with engine.working():
            for number in range(5):
                delay = 0.2 + number * 0.05
                await engine.add_one(kind, {"due": time.time() + delay}, delay_seconds=delay)
            row = (await engine.rows())[-1]
            assert row["state"] == "scheduled"
            await engine.until_all("completed", 5)
    # Rows carry whole milliseconds. A loaded machine makes some late, but not the typical one.
    assert min(lateness) > -0.003
    assert sorted(lateness)[2] < 0.1, lateness


async def test_the_urgent_ones_go_first_and_the_old_ones_before_the_new(engine: Engine) -> None:
    order: list[str] = []

    async def note(ctx: JobContext, *, name: str) -> None:
        order.append(name)

    with declared(note) as kind:
        for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
            for name in ("a", "b"):
                await engine.add(kind, {"name": f"{priority.name} {name}"}, priority=priority)
                await asyncio.sleep(0.002)
        async with engine.working(concurrency=1):
            await engine.until_all("completed", 6)
    assert order == ["HIGH a", "HIGH b", "NORMAL a", "NORMAL b", "LOW a", "LOW b"]


async def test_progress_is_on_the_row_while_the_job_runs(engine: Engine) -> None:
    go_on = asyncio.Event()

    async def build(ctx: JobContext) -> None:
        await ctx.report(1, 3, "first part")
        await go_on.wait()
        await ctx.report(3, 3)

    with declared(build) as kind:
        async with engine.working():
            job_id = await engine.add_one(kind)

            async def is_reported() -> Any:
                return (await engine.row(job_id)).get("progress")

            await until(is_reported, what="progress")
            row = await engine.row(job_id)
            assert row["progress"] == {"done": 1, "total": 3, "note": "first part"}
            go_on.set()
            row = await engine.until_state(job_id, "completed")
    assert row["progress"]["done"] == 3


def square(number: int) -> int:
    return number * number


@pytest.mark.parametrize("pool", list(Pool))
async def test_heavy_work_is_computed_in_the_pool_that_the_kind_names(
    engine: Engine, pool: Pool
) -> None:
    from novapulse.processes.consumer import make_pool

    results: list[int] = []

    async def compute(ctx: JobContext, *, number: int) -> None:
        results.append(await ctx.compute(square, number))

    with declared(compute, pool=pool) as kind:
        async with engine.working(make_pool=make_pool):
            await engine.add(kind, {"number": 12}, number=3)
            await engine.until_all("completed", 3)
    assert results == [144] * 3


def die_once(marker: str) -> None:
    if not Path(marker).exists():
        Path(marker).touch()
        os._exit(1)


async def test_a_pool_whose_process_died_is_replaced(engine: Engine, tmp_path: Any) -> None:
    from novapulse.processes.consumer import make_pool

    async def compute(ctx: JobContext) -> None:
        await ctx.compute(die_once, str(tmp_path / "marker"))

    with declared(compute, pool=Pool.PROCESS, attempts=2, backoff=AT_ONCE) as kind:
        async with engine.working(make_pool=make_pool):
            row = await engine.until_state(await engine.add_one(kind), "completed")
    assert row["attempt"] == 2
    assert "BrokenProcessPool" in row["errors"][0]["message"]


async def test_what_a_job_was_enqueued_with_wins_over_its_kind_and_the_kind_over_the_queue(
    engine: Engine,
) -> None:
    async def nothing(ctx: JobContext) -> None: ...

    with declared(nothing, attempts=7) as kind:
        own = await engine.row(await engine.add_one(kind, policy=Policy(attempts=2)))
        kinds = await engine.row(await engine.add_one(kind))
    settings = engine.runtime.settings.queues.email
    assert (own["maxAttempts"], kinds["maxAttempts"]) == (2, 7)
    assert kinds["timeoutSeconds"] == settings.timeout_seconds
    assert kinds["backoff"] == {
        "type": "exponential",
        "seconds": settings.backoff_seconds,
        "jitter": 0.2,
        "factor": 2.0,
    }


async def test_a_sealed_field_is_read_by_the_handler_and_by_nobody_else(engine: Engine) -> None:
    seen: list[dict[str, str]] = []

    async def send(ctx: JobContext, *, to: str, data: dict[str, str]) -> None:
        seen.append(data)

    with declared(send, sealed=("data",)) as kind:
        job_id = await engine.add_one(kind, {"to": "a@example.com", "data": {"link": "s3cret"}})
        async with engine.working():
            row = await engine.until_state(job_id, "completed")
    assert seen == [{"link": "s3cret"}]
    assert row["payload"]["to"] == "a@example.com"
    assert "s3cret" not in str(row)
