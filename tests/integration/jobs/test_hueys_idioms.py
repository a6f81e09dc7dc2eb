"""What Huey's documentation promises its readers, kept by the ledger. And Huey is really there."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import anyio.to_thread
import pytest
from huey import crontab
from huey.api import TaskWrapper
from huey.consumer import Consumer
from huey.exceptions import CancelExecution, RetryTask

from novapulse.core.errors import Invalid, TooLarge, Unavailable
from novapulse.core.jobs.backoff import Fixed
from novapulse.core.jobs.consumer import LedgerConsumer
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Priority, Queue, hueys, job
from novapulse.core.jobs.sync import SyncLedger
from novapulse.processes import consumer as consumer_process
from tests.support.consumers import consumers
from tests.support.engine import COMPANY, Engine, declared

EMAIL = hueys[Queue.EMAIL]


@pytest.fixture
async def connected(engine: Engine) -> AsyncIterator[SyncLedger]:
    """Synchronous calls of this process go to the engine's ledger, for the company."""
    ledger = SyncLedger(
        mongo_uri=engine.mongo_uri,
        database=engine.db.raw.name,
        redis_url=engine.redis_url,
        make_row=engine.runtime.job_row,
        company_id=COMPANY,
    )
    with ledger:
        yield ledger


@contextmanager
def task(handler: Any, **policy: Any) -> Iterator[TaskWrapper]:
    """The handler, declared, as who imports it sees it."""
    wrapper = job(f"test.{handler.__name__}", queue=Queue.EMAIL, **policy)(handler)
    try:
        yield wrapper
    finally:
        wrapper.unregister()


async def in_a_thread(call: Any, *arguments: Any, **options: Any) -> Any:
    """Synchronous code has no event loop around it."""
    return await anyio.to_thread.run_sync(lambda: call(*arguments, **options))


async def greet(ctx: JobContext, *, name: str, times: int = 1) -> None:
    """Say hello."""


async def the_row(engine: Engine) -> dict[str, Any]:
    (row,) = await engine.rows()
    return row


async def test_calling_a_task_makes_one_row_and_rings(
    engine: Engine, connected: SyncLedger
) -> None:
    with task(greet) as say:
        async with engine.working():
            await in_a_thread(say, name="Ada", times=2)
            await engine.until_all("completed", 1, seconds=10)
    row = await the_row(engine)
    assert row["payload"] == {"name": "Ada", "times": 2}
    assert (row["kind"], row["queue"], row["companyId"]) == ("test.greet", "email", COMPANY)
    assert row["_id"].startswith("job_")


async def test_a_task_keeps_its_name_and_its_words(engine: Engine) -> None:
    with task(greet) as say:
        assert isinstance(say, TaskWrapper)
        assert say.__doc__ == "Say hello."
        assert say.name == "test.greet"
        assert EMAIL._registry.string_to_task("test.greet") is say.task_class


@pytest.mark.parametrize("form", ["delay", "eta", "positional", "naive local eta"])
async def test_a_scheduled_task_is_due_when_it_was_asked_for(
    engine: Engine, connected: SyncLedger, form: str
) -> None:
    due = datetime.now(UTC) + timedelta(seconds=60)
    local = datetime.now() + timedelta(seconds=60)  # noqa: DTZ005 - Huey takes naive as local
    options: dict[str, Any] = {
        "delay": {"delay": 60},
        "eta": {"eta": due},
        "positional": {"args": 60},
        "naive local eta": {"eta": local},
    }[form]
    with task(greet) as say:
        await in_a_thread(say.schedule, kwargs={"name": "Ada"}, **options)
    row = await the_row(engine)
    assert row["state"] == "scheduled"
    assert abs(row["dueAt"] - due) < timedelta(seconds=5)


async def test_a_scheduled_task_runs_within_a_tenth_of_a_second_not_at_hueys_next_tick(
    engine: Engine, connected: SyncLedger
) -> None:
    lateness: list[float] = []

    async def look(ctx: JobContext, *, due: float) -> None:
        lateness.append(time.time() - due)

    with task(look) as looking:
        async with engine.working():
            for number in range(5):
                delay = 0.3 + number * 0.07
                due = {"due": time.time() + delay}
                await in_a_thread(looking.schedule, kwargs=due, delay=delay)
            await engine.until_all("completed", 5)
    assert min(lateness) > -0.003
    assert sorted(lateness)[2] < 0.1, lateness


@pytest.mark.parametrize(
    ("given", "stored"),
    [(10, 0), (0, 1), (None, 1), (-1, 2), (Priority.HIGH, 0), (Priority.LOW, 2)],
)
async def test_a_higher_priority_is_more_urgent_as_in_huey(
    engine: Engine, connected: SyncLedger, given: Any, stored: int
) -> None:
    with task(greet) as say:
        await in_a_thread(say.schedule, kwargs={"name": "Ada"}, delay=0, priority=given)
    assert (await the_row(engine))["priority"] == stored


async def test_retries_and_their_delay_are_the_calls_own(
    engine: Engine, connected: SyncLedger
) -> None:
    with task(greet, attempts=9) as say:
        options = {"retries": 3, "retry_delay": 10, "retry_backoff": 3, "timeout": 7}
        await in_a_thread(say, name="Ada", **options)
    row = await the_row(engine)
    assert (row["maxAttempts"], row["timeoutSeconds"]) == (4, 7)
    waits = [10 * 3**number for number in range(3)]
    backoff = row["backoff"]
    assert [backoff["seconds"] * backoff["factor"] ** number for number in range(3)] == waits
    assert backoff["jitter"] == 0


async def test_what_a_call_does_not_say_comes_from_the_kind_and_its_queue(
    engine: Engine, connected: SyncLedger
) -> None:
    with task(greet, attempts=9) as say:
        await in_a_thread(say, name="Ada")
    row = await the_row(engine)
    assert row["maxAttempts"] == 9
    assert row["backoff"]["seconds"] == engine.runtime.settings.queues.email.backoff_seconds


async def test_no_retries_means_one_attempt(engine: Engine, connected: SyncLedger) -> None:
    async def fail(ctx: JobContext) -> None:
        raise ValueError("no")

    with task(fail) as failing:
        async with engine.working():
            await in_a_thread(failing, retries=0)
            await engine.until_all("dead", 1)


async def test_map_makes_a_row_each(engine: Engine, connected: SyncLedger) -> None:
    async def count(ctx: JobContext) -> None: ...

    with task(count) as counting:
        await in_a_thread(counting.map, [() for _ in range(3)])
    assert len(await engine.rows()) == 3


@pytest.mark.parametrize("call", ["call", "schedule"])
async def test_a_payload_has_names(engine: Engine, connected: SyncLedger, call: str) -> None:
    with task(greet) as say:
        calls = {
            "call": lambda: say("Ada"),
            "schedule": lambda: say.schedule(args=("Ada",), delay=1),
        }
        with pytest.raises(TypeError, match="by name"):
            await in_a_thread(calls[call])
    assert await engine.rows() == []


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({}, Invalid),
        ({"name": "Ada", "other": 1}, Invalid),
        ({"name": "Ada", "retries": -2}, Invalid),
        ({"name": "Ada", "retries": 99}, Invalid),
        ({"name": "Ada", "id": "mine"}, Invalid),
        ({"name": "x" * 65_537}, TooLarge),
    ],
)
async def test_a_call_that_can_not_work_is_refused_at_once(
    engine: Engine, connected: SyncLedger, payload: dict[str, Any], error: type[Exception]
) -> None:
    with task(greet) as say, pytest.raises(error):
        await in_a_thread(say, **payload)
    assert await engine.rows() == []


async def test_what_the_ledger_does_not_have_is_refused_and_not_forgotten(
    engine: Engine, connected: SyncLedger
) -> None:
    with task(greet) as say:
        for asked in (
            say.s(name="Ada").then(say, name="Bob"),
            say.s(name="Ada").error(say, name="Bob"),
            say.s(name="Ada", expires=60),
        ):
            with pytest.raises(TypeError, match="not for jobs"):
                await in_a_thread(EMAIL.enqueue, asked)
    assert await engine.rows() == []


async def test_a_call_inside_a_running_loop_raises(engine: Engine, connected: SyncLedger) -> None:
    with task(greet) as say, pytest.raises(RuntimeError, match=r"tx\.enqueue"):
        say(name="Ada")
    assert await engine.rows() == []


async def test_a_process_without_a_connection_can_not_enqueue() -> None:
    with task(greet) as say, pytest.raises(RuntimeError, match="not connected"):
        await in_a_thread(say, name="Ada")


async def test_a_database_that_is_away_is_an_error_of_the_call(engine: Engine) -> None:
    ledger = SyncLedger(
        mongo_uri="mongodb:///tmp/nobody-is-here.sock".replace("///tmp/", "//%2Ftmp%2F"),
        database="none",
        redis_url=engine.redis_url,
        make_row=engine.runtime.job_row,
        timeout_seconds=0.3,
    )
    with task(greet) as say, ledger, pytest.raises(Unavailable):
        await in_a_thread(say, name="Ada")


async def test_signals_are_received_by_who_asked_huey_for_them(engine: Engine) -> None:
    heard: list[tuple[str, str, str, str]] = []

    async def work(ctx: JobContext, *, how: str) -> None:
        if how == "fails":
            raise ValueError("no")
        if how == "waits":
            await asyncio.sleep(60)

    @EMAIL.signal()
    def hear(signal_name: str, huey_task: Any, *errors: BaseException) -> None:
        how = huey_task.kwargs["how"]
        heard.append((how, signal_name, huey_task.id, "".join(map(str, errors))))

    try:
        with declared(work, attempts=2, backoff=Fixed(seconds=0, jitter=0)) as kind:
            async with engine.working():
                ids = {how: await engine.add_one(kind, {"how": how}) for how in ("works", "fails")}
                await engine.until_state(ids["fails"], "dead")
                await engine.until_state(ids["works"], "completed")
                ids["waits"] = await engine.add_one(kind, {"how": "waits"})
                await engine.until_state(ids["waits"], "running")
                await engine.db.raw["jobs"].update_one(
                    {"_id": ids["waits"]}, {"$set": {"cancelledBy": "tests"}}
                )
                await engine.until_state(ids["waits"], "cancelled")
    finally:
        EMAIL.disconnect_signal(hear)
    assert {(how, job_id) for how, _, job_id, _ in heard} == set(ids.items())
    of = {how: [(name, error) for h, name, _, error in heard if h == how] for how in ids}
    assert of["works"] == [("executing", ""), ("complete", "")]
    assert of["fails"] == [
        ("executing", ""),
        ("error", "no"),
        ("retrying", ""),
        ("executing", ""),
        ("error", "no"),
    ]
    assert of["waits"] == [("executing", ""), ("canceled", "")]


async def test_hooks_run_around_each_attempt_and_may_cancel_it(engine: Engine) -> None:
    ran: list[str] = []

    async def work(ctx: JobContext, *, name: str) -> None:
        ran.append(f"runs {name}")

    @EMAIL.pre_execute()
    def before(huey_task: Any) -> None:
        ran.append(f"before {huey_task.kwargs['name']}")
        if huey_task.kwargs["name"] == "bad":
            raise CancelExecution("not today")

    @EMAIL.post_execute()
    def after(huey_task: Any, value: Any, error: BaseException | None) -> None:
        ran.append(f"after {huey_task.kwargs['name']}: {error}")

    try:
        with declared(work) as kind:
            async with engine.working(concurrency=1):
                good, bad = [await engine.add_one(kind, {"name": name}) for name in ("good", "bad")]
                await engine.until_state(good, "completed")
                row = await engine.until_state(bad, "cancelled")
    finally:
        EMAIL.unregister_pre_execute(before)
        EMAIL.unregister_post_execute(after)
    assert row["errors"][-1]["message"] == "not today"
    assert ran[:3] == ["before good", "runs good", "after good: None"]
    assert ran[3:] == ["before bad", "after bad: not today"]


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (RetryTask(delay=3_600), "retryable", "Retry: the handler asked for it"),
        (RetryTask("slowly", delay=3_600), "retryable", "Retry: slowly"),
        (RetryTask(eta=datetime(2100, 1, 1, tzinfo=UTC)), "retryable", "Retry: the handler"),
        (CancelExecution("no use", retry=False), "cancelled", "no use"),
        (CancelExecution("try again"), "retryable", "Retry: try again"),
    ],
)
async def test_hueys_own_exceptions_mean_what_they_say(
    engine: Engine, error: Exception, state: str, message: str
) -> None:
    async def work(ctx: JobContext) -> None:
        raise error

    with declared(work) as kind:
        async with engine.working():
            row = await engine.until_state(await engine.add_one(kind), state)
    assert row["errors"][-1]["message"].startswith(message)
    if isinstance(error, RetryTask) and error.delay:
        late = row["dueAt"] - row["errors"][-1]["at"]
        assert timedelta(seconds=3_590) < late < timedelta(seconds=3_601)


def test_in_immediate_mode_a_call_runs_at_once_with_the_context_of_the_test() -> None:
    seen: list[tuple[str, str]] = []

    async def work(ctx: Any, *, name: str) -> None:
        seen.append((ctx.company, name))

    EMAIL.immediate = True
    EMAIL.immediate_context = lambda huey_task: SimpleNamespace(company="c1", task=huey_task)
    try:
        with task(work) as working:
            working(name="Ada")
            with pytest.raises(Invalid):
                working(nome="Ada")
    finally:
        EMAIL.immediate = False
        EMAIL.immediate_context = lambda huey_task: huey_task
    assert seen == [("c1", "Ada")]


def test_immediate_mode_and_back_leaves_the_connection_as_it_was() -> None:
    calls: list[Any] = []
    EMAIL.insert = calls.append
    try:
        EMAIL.immediate = True
        EMAIL.immediate = False
        with task(greet) as say:
            say(name="Ada")
    finally:
        EMAIL.insert = None
    assert [call.kwargs for call in calls] == [{"name": "Ada"}]


def test_a_periodic_task_is_due_in_the_minutes_of_its_crontab() -> None:
    async def tick(ctx: JobContext) -> None: ...

    with task(tick, cron=crontab(minute="*/5", hour="3")):
        due = [
            minute
            for minute in range(60)
            if "test.tick" in EMAIL.due_periodic(datetime(2026, 11, 23, 3, minute, tzinfo=UTC))
        ]
        assert due == list(range(0, 60, 5))
        assert EMAIL.due_periodic(datetime(2026, 11, 23, 4, 0, tzinfo=UTC)) == []
    assert EMAIL.due_periodic(datetime(2026, 11, 23, 3, 0, tzinfo=UTC)) == []


def test_a_periodic_task_that_wants_a_payload_is_refused_when_it_is_declared() -> None:
    with pytest.raises(Invalid), task(greet, cron=crontab()):
        pass


def test_two_kinds_of_one_name_are_refused() -> None:
    with task(greet), pytest.raises(ValueError, match="same identifier"), task(greet):
        pass


def test_queues_are_told_apart_by_their_whole_name() -> None:
    assert [huey.name for huey in hueys.values()] == [f"nova:{queue.value}" for queue in Queue]


async def test_without_hueys_registry_no_job_runs(engine: Engine) -> None:
    """The worker looks kinds up in Huey's own table and nowhere else."""
    ran: list[str] = []

    async def work(ctx: JobContext) -> None:
        ran.append(ctx.job.id)

    with declared(work, kind="test.work"):
        async with engine.working():
            await engine.until_state(await engine.add_one("test.work"), "completed")
            job_id = await engine.add_one("test.work", delay_seconds=0.2)
            del EMAIL._registry._registry["test.work"]
            row = await engine.until_state(job_id, "dead")
            EMAIL._registry._registry["test.work"] = object()  # for `unregister` to find
    assert row["errors"][-1]["message"] == "there is no job kind 'test.work'"
    assert len(ran) == 1


def test_a_consumer_process_is_hueys_consumer_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its main loop is Huey's `Consumer.run`: when that breaks, no consumer starts."""
    assert LedgerConsumer.run is Consumer.run
    assert LedgerConsumer.start is Consumer.start

    class Broken(Exception):
        pass

    def run(self: Consumer) -> None:
        raise Broken(self.huey.name)

    monkeypatch.setattr(Consumer, "run", run)
    with pytest.raises(Broken, match="nova:webhook"):
        consumer_process.main(SimpleNamespace(), "webhook")  # type: ignore[arg-type]  # not reached


@pytest.mark.slow
async def test_the_consumer_program_runs_jobs_and_ends_on_sigterm(engine: Engine) -> None:
    with declared(greet_nobody, kind="test.quick"):
        await engine.add("test.quick", number=20)
    async with consumers(engine, number=1) as (one,):
        await engine.until_all("completed", 20)
        one.terminate()
        assert await one.exit_code(seconds=10) == 0


@pytest.mark.slow
async def test_huey_does_not_execute_itself_anew_on_sighup(engine: Engine) -> None:
    """It would, with arguments that are wrong in a frozen program."""
    async with consumers(engine, number=1) as (one,):
        one.child.send_signal(signal.SIGHUP)
        assert await one.exit_code(seconds=10) == -signal.SIGHUP


async def greet_nobody(ctx: JobContext) -> None: ...


@pytest.mark.slow
def test_startup_and_shutdown_hooks_run_in_the_consumer() -> None:
    program = """
import asyncio, json
from novapulse.core.jobs.kinds import Queue, hueys
huey, said = hueys[Queue.EMAIL], []
huey.on_startup()(lambda: said.append("up"))
huey.on_shutdown(name="down")(lambda: said.append("down"))
async def serve_shortly(stopping):
    said.append("serves")
consumer = huey.create_consumer(serve_shortly)
consumer.run()
consumer.raise_failure()
consumer.worker_threads[0][1].join(5)
print(json.dumps(said))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},  # noqa: PTH109 - where the tests run
    )
    assert json.loads(done.stdout) == ["up", "serves", "down"]
