"""The leader's side: what is trimmed and what is kept, periodic jobs, and honest counts."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from huey import crontab

from novapulse.core.jobs import periodic, presence, stats, upkeep
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Queue
from tests.support.engine import COMPANY, OTHER, Engine, declared, until

DAY = timedelta(days=1)


async def work(ctx: JobContext) -> None: ...


async def end(engine: Engine, kind: str, state: str, *, number: int, ago: timedelta) -> list[str]:
    """Jobs that ended in `state` so long ago."""
    ids = await engine.add(kind, number=number)
    back = round(ago.total_seconds() * 1000)
    finished = {"$subtract": ["$$NOW", back]}
    await engine.db.raw["jobs"].update_many(
        {"_id": {"$in": ids}},
        [{"$set": {"state": state, "finishedAt": finished}}, {"$unset": "dueAt"}],
    )
    return ids


async def trim(engine: Engine, *, keep_most: int = 10_000) -> int:
    return await upkeep.trim(
        engine.db, keep_completed=DAY, keep_most=keep_most, keep=timedelta(days=30)
    )


async def test_completed_jobs_go_after_a_day_and_dead_ones_after_a_month(engine: Engine) -> None:
    with declared(work) as kind:
        old = await end(engine, kind, "completed", number=3, ago=DAY + timedelta(minutes=1))
        kept = await end(engine, kind, "completed", number=2, ago=DAY - timedelta(minutes=1))
        old += await end(engine, kind, "dead", number=2, ago=timedelta(days=31))
        kept += await end(engine, kind, "dead", number=2, ago=timedelta(days=29))
        old += await end(engine, kind, "cancelled", number=1, ago=timedelta(days=31))
        kept += await engine.add(kind, number=2)
        assert await trim(engine) == len(old)
    assert {row["_id"] for row in await engine.rows()} == set(kept)


async def test_of_many_completed_jobs_the_latest_stay_and_no_dead_one_goes(engine: Engine) -> None:
    with declared(work) as kind, declared(work, queue=Queue.REPORT) as other:
        await end(engine, kind, "completed", number=30, ago=timedelta(hours=2))
        latest = await end(engine, kind, "completed", number=10, ago=timedelta(hours=1))
        dead = await end(engine, kind, "dead", number=20, ago=timedelta(hours=3))
        others = await end(engine, other, "completed", number=5, ago=timedelta(hours=3))
        assert await trim(engine, keep_most=10) == 30
    assert {row["_id"] for row in await engine.rows()} == {*latest, *dead, *others}


async def test_a_queue_that_completes_more_than_a_batch_is_trimmed_to_its_limit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_TRIM_BATCH", 10)
    with declared(work) as kind:
        await end(engine, kind, "completed", number=73, ago=timedelta(hours=1))
        assert await trim(engine, keep_most=5) == 68
        await end(engine, kind, "completed", number=35, ago=2 * DAY)
        assert await trim(engine) == 35


MORNING = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


async def ticks(engine: Engine) -> list[datetime]:
    return sorted(row["dueAt"] for row in await engine.rows())


async def test_two_leaders_enqueue_a_minutes_job_once(engine: Engine) -> None:
    with declared(work, cron=crontab()):
        moments = [MORNING + timedelta(seconds=second) for second in (1, 5, 20, 59)]
        await asyncio.gather(
            *(periodic.enqueue_due(engine.runtime, now=moment) for moment in moments)
        )
        assert await ticks(engine) == [MORNING]
        later = MORNING + timedelta(minutes=1, seconds=2)
        both = (periodic.enqueue_due(engine.runtime, now=later) for _ in range(2))
        await asyncio.gather(*both)
        assert await ticks(engine) == [MORNING, MORNING + timedelta(minutes=1)]


async def test_a_late_leader_catches_up_but_not_for_ever(engine: Engine) -> None:
    with declared(work, cron=crontab()):
        await periodic.enqueue_due(engine.runtime, now=MORNING)
        await periodic.enqueue_due(engine.runtime, now=MORNING + timedelta(minutes=4))
        assert await ticks(engine) == [MORNING + timedelta(minutes=n) for n in range(5)]
        much_later = MORNING + timedelta(hours=5)
        await periodic.enqueue_due(engine.runtime, now=much_later)
        after = (await ticks(engine))[5:]
    assert after == [much_later - timedelta(minutes=n) for n in range(10, -1, -1)]


async def test_a_leader_whose_clock_is_behind_adds_nothing(engine: Engine) -> None:
    with declared(work, cron=crontab()):
        await periodic.enqueue_due(engine.runtime, now=MORNING)
        for minutes in (-5, 0):
            now = MORNING + timedelta(minutes=minutes)
            assert await periodic.enqueue_due(engine.runtime, now=now) == 0
        assert await ticks(engine) == [MORNING]


async def test_a_clock_that_was_hours_ahead_holds_nothing_up(engine: Engine) -> None:
    with declared(work, cron=crontab()):
        ahead = MORNING + timedelta(hours=9)
        await periodic.enqueue_due(engine.runtime, now=ahead)
        for minutes in (0, 0, 1):
            await periodic.enqueue_due(engine.runtime, now=MORNING + timedelta(minutes=minutes))
        assert await ticks(engine) == [MORNING, MORNING + timedelta(minutes=1), ahead]


async def test_only_the_kinds_whose_minute_it_is_are_enqueued_and_run(engine: Engine) -> None:
    ran: list[str] = []

    async def tick(ctx: JobContext) -> None:
        ran.append(ctx.job.kind)

    hourly, often = crontab(minute="0"), crontab(minute="*/15")
    past = MORNING - timedelta(days=3_650)  # due at once, whatever the clock says
    with declared(tick, cron=hourly) as one, declared(tick, cron=often) as other:
        async with engine.working():
            await periodic.enqueue_due(engine.runtime, now=past + timedelta(minutes=15))
            await engine.until_all("completed", 1)
            assert ran == [other]
            await periodic.enqueue_due(engine.runtime, now=past + timedelta(minutes=60))
            await engine.until_all("completed", 3)
    assert sorted(ran) == sorted([one, other, other])


async def test_counts_tell_the_states_apart(engine: Engine) -> None:
    with declared(work) as kind:
        await engine.add(kind, number=3)
        await engine.add(kind, number=2, company_id=OTHER)
        await engine.add(kind, number=4, delay_seconds=3_600)
        await engine.add(kind, number=1, delay_seconds=0.01)
        await end(engine, kind, "completed", number=5, ago=timedelta(minutes=5))
        await end(engine, kind, "dead", number=6, ago=timedelta(minutes=5))
        await asyncio.sleep(0.05)
        found = (await stats.counts(engine.db))["email"]
        own = (await stats.counts(engine.db, OTHER))["email"]
    assert found == {
        "available": 6,  # what is due, also if it was scheduled once
        "scheduled": 4,
        "running": 0,
        "retryable": 0,
        "completed": 5,
        "cancelled": 0,
        "dead": 6,
    }
    assert own["available"] == sum(own.values()) == 2


async def test_a_huge_queue_is_answered_from_the_leaders_count(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "EXACT", 50)
    with declared(work) as kind:
        await engine.add(kind, number=40)
        await engine.add(kind, number=40, delay_seconds=3_600)
        before = (await stats.counts(engine.db))["email"]
        assert before["available"] == 50  # all that is known without a full count
        await stats.take_snapshots(engine.db)
        found = (await stats.counts(engine.db))["email"]
    assert (found["available"], found["scheduled"]) == (40, 40)


async def test_the_age_is_that_of_the_oldest_due_job(engine: Engine) -> None:
    with declared(work) as kind:
        assert await stats.oldest_seconds(engine.db) == {}
        await engine.add(kind, delay_seconds=3_600)
        assert await stats.oldest_seconds(engine.db) == {}
        past = engine.runtime.clock() - timedelta(seconds=90)
        await engine.add(kind, due_at=past, company_id=OTHER)
        await engine.add(kind)
        ages = await stats.oldest_seconds(engine.db)
        own = await stats.oldest_seconds(engine.db, COMPANY)
    assert 90 <= ages["email"] < 100
    assert own["email"] < 60


async def test_the_rate_is_of_the_last_minute(engine: Engine) -> None:
    with declared(work) as kind:
        await end(engine, kind, "completed", number=7, ago=timedelta(seconds=30))
        await end(engine, kind, "completed", number=9, ago=timedelta(seconds=90))
        assert (await stats.rate_per_minute(engine.db))["email"] == 7


async def test_a_consumer_is_counted_while_it_lives(engine: Engine) -> None:
    async with engine.working(), engine.working(), engine.working(Queue.REPORT):

        async def are_there() -> bool:
            return await presence.live_consumers(engine.db) == {"email": 2, "report": 1}

        await until(are_there, what="three beats")
    assert await presence.live_consumers(engine.db) == {}
