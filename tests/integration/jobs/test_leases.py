"""Leases: whoever holds a job runs it, whoever lost it changes nothing, and nothing stays held."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from novapulse.core import errors
from novapulse.core.jobs import claims, stillness, upkeep
from novapulse.core.jobs.claims import CLAIMS, Silences
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Queue
from novapulse.core.jobs.ledger import Ledger, is_suspect
from novapulse.core.jobs.rows import JOBS
from novapulse.core.jobs.states import Outcome, State
from novapulse.core.mongo import Document
from novapulse.processes.scheduler import Scheduler
from tests.support.engine import Engine, declared, until


async def nothing(ctx: JobContext) -> None: ...


def ledger(engine: Engine, owner: str, *, lease_seconds: float = 30.0) -> Ledger:
    return Ledger(engine.db, Queue.EMAIL, owner=owner, lease_seconds=lease_seconds)


async def claim_all(mine: Ledger) -> Any:
    (company,) = (await mine.look(limit=10)).due
    return await mine.claim(await mine.candidates(company, 1_000))


async def lapse(engine: Engine) -> None:
    """As if nothing had been heard of any consumer for as long as its leases last."""
    ago = [{"$set": {"until": {"$subtract": ["$$NOW", 1]}}}]
    await engine.db.platform(CLAIMS).update_many({}, ago)


class Stopwatch:
    """A leader's own clock."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def release_lapsed(engine: Engine) -> int:
    """As a leader does that has been looking for as long as it takes."""
    clock = Stopwatch()
    silences = Silences(engine.db, clock=clock)
    for clock.now in (0.0, 10.0, 20.0):
        await silences.ids()
    return await upkeep.release_lapsed(engine.db, silences)


async def test_a_claimed_job_is_leased_and_counted(engine: Engine) -> None:
    with declared(nothing) as kind:
        job_id = await engine.add_one(kind)
        (job,) = await claim_all(ledger(engine, "one"))
    row = await engine.row(job_id)
    assert (row["state"], row["attempt"], row["lease"]["owner"]) == ("running", 1, "one")
    assert row["lease"]["claim"] == job.claim
    claim = await engine.db.platform(CLAIMS).find_one({"_id": job.claim})
    assert claim is not None
    assert claim["jobs"] == [job_id]
    held = claim["until"] - row["startedAt"]
    assert timedelta(seconds=29) < held <= timedelta(seconds=30)
    assert "dueAt" not in row


async def test_of_two_that_claim_the_same_rows_each_row_has_one(engine: Engine) -> None:
    one, other = ledger(engine, "one"), ledger(engine, "other")
    with declared(nothing) as kind:
        ids = await engine.add(kind, number=200)
        (company,) = (await one.look(limit=10)).due
        rows = await one.candidates(company, 200)
        claims = await asyncio.gather(one.claim(rows), other.claim(rows), one.claim(rows))
    claimed = [job.id for jobs in claims for job in jobs]
    assert sorted(claimed) == sorted(ids)


@pytest.mark.parametrize("spends", [True, False])
async def test_what_was_read_before_somebody_put_it_off_does_not_begin_early(
    engine: Engine, spends: bool
) -> None:
    quick, slow = ledger(engine, "quick"), ledger(engine, "slow")
    with declared(nothing) as kind:
        first, second = await engine.add(kind, number=2)
        (company,) = (await slow.look(limit=10)).due
        read = await slow.candidates(company, 10)
        (job,) = await quick.claim([row for row in read if row["_id"] == first])
        later = Outcome(State.RETRYABLE, delay_seconds=3_600, spends_attempt=spends)
        await quick.finish([(job, later)])
        before = await engine.row(first)
        assert [job.id for job in await slow.claim(read)] == [second]
    assert await engine.row(first) == before


async def test_what_was_read_before_somebody_tried_it_is_read_again_to_begin(
    engine: Engine,
) -> None:
    """Due once more, and before others that were read with it: only its attempts tell."""
    quick, slow = ledger(engine, "quick"), ledger(engine, "slow")
    with declared(nothing) as kind:
        first, second = await engine.add(kind, number=2)
        (company,) = (await slow.look(limit=10)).due
        read = await slow.candidates(company, 10)
        (job,) = await quick.claim([row for row in read if row["_id"] == first])
        await quick.finish([(job, Outcome(State.RETRYABLE))])
        jobs = engine.db.platform(JOBS)
        await jobs.update_many({"_id": first}, {"$set": {"dueAt": read[-1]["dueAt"]}})
        assert [job.id for job in await slow.claim(read)] == [second]
        (again,) = await claim_all(slow)
    assert (again.id, again.attempt) == (first, 2)


@pytest.mark.parametrize("state", [State.COMPLETED, State.RETRYABLE, State.DEAD])
async def test_a_late_end_changes_nothing(engine: Engine, state: State) -> None:
    slow, quick = ledger(engine, "slow"), ledger(engine, "quick")
    with declared(nothing) as kind:
        job_id = await engine.add_one(kind)
        (before,) = await claim_all(slow)
        await lapse(engine)
        assert await release_lapsed(engine) == 1
        (after,) = await claim_all(quick)
        held = await engine.row(job_id)
        await slow.finish([(before, Outcome(state, reason="too late"))])
        await slow.give_back([before])
        await slow.note_progress(before, {"done": 1})
        assert await engine.row(job_id) == held
        assert await slow.lost([before]) == [before]
        await quick.finish([(after, Outcome(State.COMPLETED))])
    row = await engine.row(job_id)
    assert (row["state"], row["attempt"], row["lapses"]) == ("completed", 2, 1)


async def test_an_earlier_claim_of_the_same_owner_is_as_lost_as_a_strangers(
    engine: Engine,
) -> None:
    mine = ledger(engine, "one")
    with declared(nothing) as kind:
        job_id = await engine.add_one(kind)
        (before,) = await claim_all(mine)
        await lapse(engine)
        await release_lapsed(engine)
        (after,) = await claim_all(mine)
        assert await mine.lost([before, after]) == [before]
        await mine.finish([(before, Outcome(State.COMPLETED))])
        assert (await engine.row(job_id))["state"] == "running"


async def test_a_lapsed_lease_returns_the_job_with_its_start_counted(engine: Engine) -> None:
    with declared(nothing, attempts=1) as kind:
        job_id = await engine.add_one(kind)
        await claim_all(ledger(engine, "lost"))
        await lapse(engine)
        await release_lapsed(engine)
        row = await engine.row(job_id)
        assert (row["state"], row["attempt"], row["lapses"]) == ("available", 1, 1)
        assert row["errors"][-1]["message"] == "the lease lapsed: its consumer went silent"
        async with engine.working():  # its only attempt is not spent
            row = await engine.until_state(job_id, "completed")
    assert row["attempt"] == 2


async def test_a_live_lease_is_left_alone(engine: Engine) -> None:
    with declared(nothing) as kind:
        await engine.add(kind, number=3)
        await claim_all(ledger(engine, "alive"))
        assert await release_lapsed(engine) == 0
        assert await upkeep.release_held(engine.db, {"$in": ["other"]}, reason="gone") == 0
        assert await upkeep.release_held(engine.db, {"$in": ["alive"]}, reason="gone") == 3


async def test_who_lives_has_the_time_to_renew_when_all_leases_are_over_at_once(
    engine: Engine,
) -> None:
    """After a MongoDB that was away for longer than a lease, or whose clock stepped forward."""
    clock = Stopwatch()
    silences = Silences(engine.db, clock=clock)
    living, lost = ledger(engine, "lives"), ledger(engine, "lost")
    with declared(nothing) as kind:
        kept = await engine.add_one(kind)
        jobs = await claim_all(living)
        gone = await engine.add_one(kind)
        await claim_all(lost)
    await lapse(engine)
    for clock.now in (0.0, 5.0, 10.0):
        assert await upkeep.release_lapsed(engine.db, silences) == 0
    assert await living.renew(jobs) == []
    clock.now = 15.0
    assert await upkeep.release_lapsed(engine.db, silences) == 1
    states = [(await engine.row(job_id))["state"] for job_id in (kept, gone)]
    assert states == ["running", "available"]
    assert "lapses" not in await engine.row(kept)


async def test_a_lease_lapses_in_time_for_a_leader_that_looked_all_the_while(
    engine: Engine,
) -> None:
    clock = Stopwatch()
    silences = Silences(engine.db, clock=clock)
    with declared(nothing) as kind:
        await engine.add_one(kind)
        await claim_all(ledger(engine, "lost"))
    for clock.now in (0.0, 14.0, 28.0):
        assert await upkeep.release_lapsed(engine.db, silences) == 0
    where: Document = {"$expr": {"$gt": ["$until", "$$NOW"]}}
    assert await engine.db.platform(CLAIMS).count(where, limit=2) == 1, "it is not over yet"
    assert len(await silences.ids()) == 1, "it is taken back as soon as it is"


NOT_SEEN: dict[str, errors.Error | None] = {
    "it begins to lead": None,
    "MongoDB was away": errors.Unavailable(),
    "nothing could be written": errors.StorageFull(),
}


@pytest.mark.parametrize("what", NOT_SEEN)
async def test_a_leader_does_not_count_what_it_did_not_see(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    error = NOT_SEEN[what]

    async def fail(*_: Any) -> None:
        assert error is not None
        raise error

    leader = Scheduler(engine.runtime, appliance="tests", owner="tests/one")
    clock = Stopwatch()
    leader._silences = Silences(engine.db, clock=clock)
    with declared(nothing) as kind:
        job_id = await engine.add_one(kind)
        await claim_all(ledger(engine, "lost"))
    await lapse(engine)
    await leader._take_back()
    clock.now = 10.0
    if error is None:
        await leader._take()
        assert leader.leads
    else:
        with monkeypatch.context() as patch:
            patch.setattr(stillness, "look", fail)
            with pytest.raises(type(error)):
                await leader._take_back()
    states = ((20.0, "running"), (30.0, "running"), (34.0, "running"), (35.0, "available"))
    for clock.now, state in states:
        await leader._take_back()
        assert (await engine.row(job_id))["state"] == state


async def test_a_leader_that_stood_still_has_seen_nothing_meanwhile(engine: Engine) -> None:
    clock = Stopwatch()
    silences = Silences(engine.db, clock=clock)
    with declared(nothing) as kind:
        await engine.add_one(kind)
        await claim_all(ledger(engine, "lives"))
    await lapse(engine)
    for clock.now in (0.0, 3_600.0, 3_605.0, 3_614.0):
        assert await upkeep.release_lapsed(engine.db, silences) == 0
    clock.now = 3_615.0
    assert await upkeep.release_lapsed(engine.db, silences) == 1


async def test_a_job_that_outlasts_its_lease_keeps_it(engine: Engine) -> None:
    starts: list[str] = []

    async def sleep(ctx: JobContext) -> None:
        starts.append(ctx.job.id)
        await asyncio.sleep(2.5)

    with declared(sleep) as kind:
        job_id = await engine.add_one(kind)
        async with engine.working(lease_seconds=1.0), engine.working(lease_seconds=1.0):
            deadline = time.monotonic() + 20
            while (await engine.row(job_id))["state"] != "completed":
                assert await release_lapsed(engine) == 0
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
    assert starts == [job_id]


async def test_a_job_that_killed_its_consumer_three_times_is_dead_with_that_reason(
    engine: Engine,
) -> None:
    with declared(nothing) as kind:
        job_id = await engine.add_one(kind, key="once")
        for number in range(1, 4):
            await until(lambda: is_due(engine, job_id), what="the job to be due again")
            await claim_all(ledger(engine, f"dies {number}"))
            gone = {"$in": [f"dies {number}"]}
            assert await upkeep.release_held(engine.db, gone, reason="its consumer ended") == 1
    row = await engine.row(job_id)
    assert (row["state"], row["attempt"], row["lapses"]) == ("dead", 3, 3)
    assert [error["message"] for error in row["errors"]] == ["its consumer ended"] * 3
    assert "dueAt" not in row
    assert "openKey" not in row  # the next of its key may come
    assert row["finishedAt"] is not None


async def is_due(engine: Engine, job_id: str) -> bool:
    return bool((await ledger(engine, "looks").look(limit=1)).due)


async def test_who_lost_its_consumer_twice_runs_alone_and_takes_nobody_along(
    engine: Engine,
) -> None:
    """Three that kill and twenty that do not, in one consumer that is killed again and again."""
    beside: dict[str, int] = {}
    running: set[str] = set()

    async def work(ctx: JobContext, *, kills: bool) -> None:
        running.add(ctx.job.id)
        beside[ctx.job.id] = len(running) - 1
        try:
            if kills:
                await asyncio.sleep(60)
        finally:
            running.discard(ctx.job.id)

    with declared(work) as kind:
        killers = await engine.add(kind, {"kills": True}, number=3)
        await engine.add(kind, {"kills": False}, number=20)
        for number in range(5):  # twice all together, then one after the other
            worker = engine.worker(owner=f"dies {number}", concurrency=30)
            await engine.leave_behind(worker, until_it=lambda: bool(running & set(killers)))
            gone = {"$in": [f"dies {number}"]}
            await upkeep.release_held(engine.db, gone, reason="its consumer ended")
            await engine.db.raw["jobs"].update_many(
                {"state": "available"}, [{"$set": {"dueAt": "$$NOW"}}]
            )
        async with engine.working():
            await engine.until_all("completed", 20)
        states = {row["_id"]: row["state"] for row in await engine.rows()}
    assert {job_id for job_id, state in states.items() if state == "dead"} == set(killers)
    assert {states[job_id] for job_id in states if job_id not in killers} == {"completed"}
    assert [beside[job_id] for job_id in killers] == [0, 0, 0]


async def test_while_a_suspect_waits_for_its_turn_the_others_end_and_go_on_after_it(
    engine: Engine,
) -> None:
    order: list[str] = []

    async def work(ctx: JobContext, *, name: str) -> None:
        order.append(f"{name} starts")
        await asyncio.sleep(0.1)
        order.append(f"{name} ends")

    with declared(work) as kind:
        ids = [await engine.add_one(kind, {"name": name}) for name in ("a", "suspect", "b")]
        await engine.db.raw["jobs"].update_one({"_id": ids[1]}, {"$set": {"lapses": 2}})
        async with engine.working(concurrency=3):
            await engine.until_all("completed", 3)
    at = order.index("suspect starts")
    assert order[at + 1] == "suspect ends"
    assert len(order) == 6


async def lose(engine: Engine, job_id: str, *, times: int) -> None:
    """The consumer that runs it ends, again and again."""
    for number in range(times):
        await until(lambda: is_due(engine, job_id), what="the job to be due again")
        owner = f"dies {number}"
        await claim_all(ledger(engine, owner))
        await upkeep.release_held(engine.db, {"$in": [owner]}, reason="its consumer ended")


async def end(engine: Engine, job_id: str, outcome: Outcome) -> None:
    await until(lambda: is_due(engine, job_id), what="the job to be due again")
    mine = ledger(engine, "lives")
    await mine.finish([(job, outcome) for job in await claim_all(mine)])


async def test_a_suspect_whose_attempt_ends_is_none_any_more_and_begins_to_count_anew(
    engine: Engine,
) -> None:
    with declared(nothing) as kind:
        job_id = await engine.add_one(kind)
        await lose(engine, job_id, times=2)
        assert is_suspect(await engine.row(job_id))
        await end(engine, job_id, Outcome(State.RETRYABLE, spends_attempt=False))
        assert is_suspect(await engine.row(job_id)), "it may not have come to what it is feared for"
        await end(engine, job_id, Outcome(State.RETRYABLE))
        assert not is_suspect(await engine.row(job_id))
        await lose(engine, job_id, times=1)
        assert not is_suspect(await engine.row(job_id))
        await lose(engine, job_id, times=1)
        row = await engine.row(job_id)
        assert is_suspect(row)
        assert (row["state"], row["attempt"], row["lapses"]) == ("available", 5, 4)
        await lose(engine, job_id, times=1)
    row = await engine.row(job_id)
    assert (row["state"], row["attempt"], row["lapses"]) == ("dead", 6, 5)


async def test_nothing_is_written_of_lapses_where_there_were_none(engine: Engine) -> None:
    with declared(nothing) as kind:
        job_id = await engine.add_one(kind)
        await end(engine, job_id, Outcome(State.RETRYABLE))
    assert not {"lapses", "outlived"} & (await engine.row(job_id)).keys()


async def test_a_claim_whose_answer_got_lost_is_given_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = ledger(engine, "one")
    with declared(nothing) as kind:
        await engine.add(kind, number=3)
        write = engine.db.write_swiftly

        async def and_then_silence(*arguments: Any) -> list[int]:
            await write(*arguments)
            raise errors.Unavailable()

        with monkeypatch.context() as patch:
            patch.setattr(engine.db, "write_swiftly", and_then_silence)
            with pytest.raises(errors.Unavailable):
                await claim_all(mine)
        assert await engine.states() == {"running": 3}
        await engine.add_one(kind)
        claimed = await claim_all(mine)
        claimed += await claim_all(mine)
    assert len(claimed) == 4
    assert {row["attempt"] for row in await engine.rows()} == {1}


async def claims_there(engine: Engine) -> list[str]:
    return [row["_id"] for row in await engine.db.platform(CLAIMS).find({}, limit=100)]


async def test_a_claim_is_there_until_its_last_job_has_ended(engine: Engine) -> None:
    mine = ledger(engine, "one")
    with declared(nothing) as kind:
        await engine.add(kind, number=3)
        jobs = await claim_all(mine)
    await mine.finish([(jobs[0], Outcome(State.COMPLETED)), (jobs[1], Outcome(State.DEAD))])
    await mine.tidy()
    assert await claims_there(engine) == [jobs[0].claim]
    await mine.give_back(jobs[2:])
    await mine.tidy()
    assert await claims_there(engine) == []


async def test_a_claim_that_is_being_taken_back_is_not_renewed_but_taken_again(
    engine: Engine,
) -> None:
    """The sweep may die between taking a claim and freeing its jobs."""
    mine = ledger(engine, "one")
    with declared(nothing) as kind:
        job_id = await engine.add_one(kind)
        (job,) = await claim_all(mine)
    await claims.take(engine.db, {"owner": "one"})
    assert await mine.renew([job]) == []  # the job's row still says that it is ours
    assert await release_lapsed(engine) == 1
    assert await mine.renew([job]) == [job]
    assert (await engine.row(job_id))["lapses"] == 1
    assert await claims_there(engine) == []


async def test_who_was_blocked_between_a_claim_and_its_jobs_gives_them_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim may have been taken back meanwhile: nothing may be held by one that is gone."""
    mine = ledger(engine, "one", lease_seconds=0.1)
    with declared(nothing) as kind:
        await engine.add(kind, number=3)
        write = engine.db.write_swiftly

        async def late(*names: str, opening: Document, taking: Document) -> list[int]:
            (opened,) = await write(*names, opening)
            await asyncio.sleep(0.2)
            assert await release_lapsed(engine) == 0  # there is nothing to free yet
            return [opened, *await write(*names, taking)]

        with monkeypatch.context() as patch:
            patch.setattr(
                engine.db,
                "write_swiftly",
                lambda *names: late(*names[:2], opening=names[2], taking=names[3]),
            )
            assert await claim_all(mine) == []
        assert await claims_there(engine) == []
        await mine.tidy()
    assert {(row["state"], row["attempt"]) for row in await engine.rows()} == {("available", 0)}


async def test_what_a_claim_holds_that_is_not_there_is_free_again(engine: Engine) -> None:
    mine = ledger(engine, "one")
    with declared(nothing) as kind:
        await engine.add(kind, number=3)
        (job, *_) = await claim_all(mine)
        assert await upkeep.release_strays(engine.db) == 0
        await engine.db.platform(CLAIMS).delete_one({"_id": job.claim})
        assert await upkeep.release_strays(engine.db) == 3
        assert len(await claim_all(ledger(engine, "other"))) == 3


@pytest.mark.slow
async def test_a_job_that_blocks_the_event_loop_three_leases_long_stops_nobody_for_ever(
    engine: Engine,
) -> None:
    """Each worker is a process of its own here: a blocked loop is a blocked program."""
    from tests.support.consumers import consumers

    async with consumers(engine, number=2, concurrency=4, lease_seconds=1.0, block_seconds=3.0):
        with declared(nothing, kind="test.quick"), declared(nothing, kind="test.blocks"):
            quick = await engine.add("test.quick", number=100)
            bad = await engine.add_one("test.blocks")
            quick += await engine.add("test.quick", number=100)
        deadline = time.monotonic() + 50
        while (await engine.states())["running"] + (await engine.states())["available"]:
            await release_lapsed(engine)
            assert time.monotonic() < deadline, await engine.states()
            await asyncio.sleep(0.1)
        rows = {row["_id"]: row for row in await engine.rows()}
    assert {rows[job_id]["state"] for job_id in quick} == {"completed"}
    assert rows[bad]["state"] == "dead"
    assert rows[bad]["lapses"] == 3
