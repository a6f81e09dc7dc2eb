"""Which webhooks the dispatcher knows: who is forgotten is read again, not taken for deleted."""

from collections.abc import Sequence

import pytest

from novapulse.core.jobs.rows import JOBS
from novapulse.core.mongo import Document
from novapulse.dispatch import targets
from novapulse.dispatch.dispatcher import Dispatcher
from novapulse.dispatch.queue import LaneLedger, Waiting
from tests.support.dispatching import House, Plan, Sink, until


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not needed is forgotten at every look, not every quarter of an hour."""
    monkeypatch.setattr(targets, "_KEEP_SECONDS", 0.0)
    monkeypatch.setattr(targets, "_FRESH_SECONDS", 0.0)


async def until_idle(dispatcher: Dispatcher) -> None:
    """Nothing is under way, and the health of all is written."""

    def is_idle() -> bool:
        return not dispatcher.board.in_flight and not any(
            vitals.is_dirty for vitals in dispatcher.targets.vitals.values()
        )

    await until(is_idle, what="the dispatcher to be idle")


async def were_put_off(house: House) -> list[str]:
    """What the jobs say of starts that led to nothing."""
    jobs = await house.rows(JOBS, kind="webhook.deliver")
    return [error["message"] for job in jobs for error in job.get("errors", ())]


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("number", [1, 200], ids=["glance", "read ahead"])
async def test_what_comes_when_its_idle_webhook_would_be_forgotten_is_delivered(
    house: House, there: Sink, number: int
) -> None:
    await house.subscribe(f"{there.url}/a")
    async with house.dispatching() as dispatcher:
        for count in range(1, 4):
            await house.emit(number)
            await house.until_states({"delivered": number * count})
            await until_idle(dispatcher)
    assert len(there.told) == 3 * number
    assert await were_put_off(house) == []


@pytest.mark.usefixtures("forgetful")
async def test_a_failing_attempt_lets_nobody_be_forgotten_while_the_intake_reads(
    house: House, there: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt of one webhook ends between the look at another and the reading of its rows."""
    await house.subscribe(f"{there.url}/well", "kind.well")
    await house.subscribe(f"{there.url}/ill", "kind.ill")
    there.plans["/ill"] = Plan(500, seconds=1.0)
    peek = LaneLedger.peek_many

    async def peek_late(
        ledger: LaneLedger, lanes: Sequence[Waiting], *, limit: int
    ) -> list[list[Document]]:
        found = await peek(ledger, lanes, limit=limit)
        await until(has_failed, what="the end of the attempt")
        return found

    async def has_failed() -> bool:
        return bool(await house.deliveries(state="retry"))

    async with house.dispatching():
        await house.emit(event="kind.well")
        await house.until_states({"delivered": 1})
        await house.emit(event="kind.ill")
        await until(lambda: there.under_way["/ill"] == 1, what="the attempt under way")
        monkeypatch.setattr(LaneLedger, "peek_many", peek_late)
        await house.emit(100, event="kind.well")
        await house.until_states({"delivered": 101, "retry": 1})
    assert len(there.at("/well")) == 101
    assert all("Retry" in message for message in await were_put_off(house))


async def test_a_delivery_whose_webhook_is_not_known_waits_and_is_not_discarded(
    house: House, there: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.subscribe(f"{there.url}/a")

    async def read_nothing(*_: object) -> None: ...

    async def was_put_off() -> bool:
        return bool(await house.rows(JOBS, state="retryable"))

    async with house.dispatching():
        with monkeypatch.context() as patch:
            patch.setattr(targets.Targets, "ensure", read_nothing)
            await house.emit()
            await until(was_put_off, what="the job to be put off")
            assert await house.states() == {"pending": 1}
        await house.until_states({"delivered": 1})
    (job,) = await house.rows(JOBS)
    assert job["attempt"] == 1
    assert [one.headers["x-novapulse-attempt"] for one in there.told] == ["1"]


async def test_what_waits_for_a_webhook_that_is_not_there_is_discarded(
    house: House, there: Sink
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    await house.emit(3)
    await house.db.platform("webhooks").delete_one({"_id": webhook})
    async with house.dispatching() as dispatcher:
        await house.until_states({"discarded": 3})
        assert dispatcher.targets.is_known(webhook)
    assert there.told == []
    assert {row["reason"] for row in await house.deliveries()} == {"the webhook was deleted"}


@pytest.mark.usefixtures("forgetful")
async def test_who_is_not_needed_any_more_is_forgotten(house: House, there: Sink) -> None:
    first = await house.subscribe(f"{there.url}/a", "kind.a")
    second = await house.subscribe(f"{there.url}/b", "kind.b")
    async with house.dispatching() as dispatcher:
        await house.emit(event="kind.a")
        await house.until_states({"delivered": 1})
        await until_idle(dispatcher)
        await house.emit(event="kind.b")
        await house.until_states({"delivered": 2})
        assert dispatcher.targets.is_known(second)
        assert not dispatcher.targets.is_known(first)
