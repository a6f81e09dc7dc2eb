"""What becomes of a delivery and its webhook by what the receiver did, row by row.

The clock stands still unless a test moves it; only the ledger's times are real.
"""

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import format_datetime

import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook

from novapulse.core.jobs.rows import JOBS
from novapulse.deliveries import service
from novapulse.deliveries.store import ATTEMPTS, HEALTH
from novapulse.subscriptions import secrets
from novapulse.subscriptions.store import SubscriptionStore
from tests.support.dispatching import COMPANY, House, Plan, Sink, StillClock, open_house, until
from tests.support.receivers import Script, receiving
from tests.support.stores import RunningStores

_clock = StillClock()
DISABLE = "webhook-delivery: disable\r\n"


@pytest.fixture(scope="module")
async def shared_house(stores: RunningStores) -> AsyncIterator[House]:
    async with open_house(stores, clock=_clock) as opened:
        yield opened


@pytest.fixture
def clock() -> StillClock:
    _clock.reset()
    return _clock


async def until_recorded(house: House, event_type: str) -> None:
    async def is_there() -> bool:
        return bool(await house.recorded(event_type))

    await until(is_there, what=event_type)


@pytest.mark.parametrize(
    ("status", "result"),
    [
        *((status, "redirect") for status in (301, 302, 303, 307, 308)),
        *((status, "throttled") for status in (429, 503)),
        *((status, "transient") for status in (408, 500, 502, 504, 599)),
        *((status, "rejected") for status in (400, 401, 404, 409, 422, 499)),
    ],
)
async def test_an_answer_that_is_no_success_is_tried_again_and_counts_against_health(
    house: House, there: Sink, clock: StillClock, status: int, result: str
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(status, headers=f"Location: {there.url}/elsewhere\r\n")
    await house.emit()
    async with house.dispatching() as dispatcher:
        await house.until_states({"retry": 1})
        (seat,) = dispatcher.board.seats.values()
        assert seat.breaker.remembers
        assert seat.cap.of(10) == (5 if result == "throttled" else 10)
        assert [one.path for one in there.told] == ["/a"]
        there.plans.clear()
        await house.hurry()
        await house.until_states({"delivered": 1})
    first, second = sorted(await house.rows(ATTEMPTS), key=lambda row: row["attempt"])
    assert (first["class"], first["status"]) == (result, status)
    assert (second["class"], second["status"]) == ("ok", 200)
    (health,) = await house.rows(HEALTH)
    assert health["_id"] == webhook
    assert health["lastFailureAt"] == clock()


@pytest.mark.parametrize(
    "plan",
    [Plan(410), Plan(200, headers=DISABLE), Plan(500, headers=DISABLE), Plan(429, headers=DISABLE)],
    ids=["410", "200 and disable", "500 and disable", "429 and disable"],
)
async def test_who_says_that_he_is_gone_gets_nothing_more_and_people_are_told(
    house: House, there: Sink, clock: StillClock, plan: Plan
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = plan
    await house.emit()
    async with house.dispatching():
        await house.until_states({"discarded": 1})
        await until_recorded(house, "webhook.disabled")
        await house.emit(3)
        await house.until_states({"discarded": 1, "held": 3})
    row = await house.webhook(webhook)
    assert (row["state"], row["disabledReason"]) == ("disabled", "gone")
    (attempt,) = await house.rows(ATTEMPTS)
    assert (attempt["class"], attempt["status"]) == ("gone", plan.status)
    assert len(there.told) == 1


@pytest.mark.parametrize("rate", [None, 5])
async def test_who_says_that_he_is_gone_sees_only_what_was_under_way_of_his_backlog(
    house: House, there: Sink, clock: StillClock, rate: int | None
) -> None:
    """Until that is written and read again nothing more begins, and then the rest is held."""
    await house.subscribe(f"{there.url}/a", rate=rate)
    there.plans["/a"] = Plan(410, seconds=0.05)
    await house.emit(200)
    async with house.dispatching():
        await until_recorded(house, "webhook.disabled")

        async def is_settled() -> bool:
            return not {"pending", "retry"} & (await house.states()).keys()

        await until(is_settled, what="every delivery to be decided")
    seen = len(there.told)
    assert 1 <= seen <= 10
    assert await house.states() == {"discarded": seen, "held": 200 - seen}


async def _hang_up(_: object, writer: object) -> None:
    writer.close()


async def _never(reader: object, _: object) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("script", "scheme", "host", "error"),
    [
        (_hang_up, "http", "127.0.0.1", "reset"),
        (_hang_up, "https", "127.0.0.1", "tls"),
        (_never, "http", "127.0.0.1", "timeout"),
        (_hang_up, "http", "nowhere.invalid", "dns"),
        (None, "http", "127.0.0.1", "connect"),
    ],
    ids=["reset", "TLS", "timeout", "DNS", "refused"],
)
async def test_no_answer_at_all_is_tried_again(
    house: House, clock: StillClock, script: Script | None, scheme: str, host: str, error: str
) -> None:
    async with receiving(script or _hang_up, waits_for_request=False) as receiver:
        port = receiver.port
        await house.subscribe(f"{scheme}://{host}:{port if script else 9}/", timeout_seconds=1)
        began = time.monotonic()
        await house.emit()
        async with house.dispatching():
            await house.until_states({"retry": 1})
        assert time.monotonic() - began <= 1 + 1 + 2  # the timeout, its grace, and the ledger's
    (attempt,) = await house.rows(ATTEMPTS)
    assert (attempt["class"], attempt["status"]) == ("transient", None)
    assert attempt["error"].partition(":")[0] == error
    assert attempt["timings"]["totalMs"] <= 2_000
    (health,) = await house.rows(HEALTH)
    assert health["failingSince"] == clock()


@pytest.mark.parametrize(
    ("form", "hours", "waits"),
    [("seconds", 2, 2), ("date", 2, 2), ("seconds", 72, 24), ("date", 72, 24)],
)
async def test_a_throttled_receiver_is_left_alone_for_as_long_as_it_asks_and_a_day_at_most(
    house: House, there: Sink, clock: StillClock, *, form: str, hours: int, waits: int
) -> None:
    await house.subscribe(f"{there.url}/a")
    date = format_datetime(clock() + timedelta(hours=hours), usegmt=True)
    value = date if form == "date" else str(hours * 3_600)
    there.plans["/a"] = Plan(429, headers=f"Retry-After: {value}\r\n")
    await house.emit()
    async with house.dispatching():
        await house.until_states({"retry": 1})
    (row,) = await house.deliveries()
    wait = row["dueAt"] - clock()
    assert timedelta(hours=waits) - timedelta(seconds=1) <= wait <= timedelta(hours=waits)
    (job,) = await house.rows(JOBS)
    assert job["dueAt"] - job["createdAt"] > timedelta(hours=waits - 1)


async def test_a_receiver_that_rejects_opens_its_circuit_like_one_that_fails(
    house: House, there: Sink, clock: StillClock
) -> None:
    await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(404)
    await house.emit(40)
    async with house.dispatching() as dispatcher:
        await until_recorded(house, "webhook.failing")
        (seat,) = dispatcher.board.seats.values()
        assert seat.breaker.is_open
        assert len(there.told) == 10


async def test_attempts_and_replays_differ_in_their_time_and_never_in_their_bytes(
    house: House, there: Sink, clock: StillClock
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(500)
    await house.emit(text="Ärger – “x” \u2028 日本語 😀")
    times = [clock()]
    async with house.dispatching():
        await house.until_states({"retry": 1})
        there.plans.clear()
        clock.jump(timedelta(seconds=7))
        times.append(clock())
        await house.hurry()
        await house.until_states({"delivered": 1})
        clock.jump(timedelta(days=3))
        times.append(clock())
        (row,) = await house.deliveries()
        await service.replay(house.context(), row["_id"])
        await house.until_states({"delivered": 2})
    assert len({one.body for one in there.told}) == 1
    assert len({one.event_id for one in there.told}) == 1
    stamps = [one.headers["webhook-timestamp"] for one in there.told]
    assert stamps == [str(int(at.timestamp())) for at in times]
    assert len({one.headers["webhook-signature"] for one in there.told}) == 3
    assert len({one.headers["x-novapulse-signature"] for one in there.told}) == 1
    subscription = await SubscriptionStore(house.db.tenant(COMPANY)).get(webhook)
    (live,) = secrets.live(house.runtime.keys, subscription, clock())
    verifier = StandardWebhook(live.value)
    for at, one in zip(times, there.told, strict=True):
        assert (
            verifier.sign(one.event_id, at, one.body.decode()) == (one.headers["webhook-signature"])
        )


async def test_a_shutdown_spends_no_attempt(house: House, there: Sink, clock: StillClock) -> None:
    await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(never=True)
    await house.emit(3)
    async with house.dispatching(drain_seconds=0.2):
        await until(lambda: there.under_way["/a"] == 3, what="the attempts under way")
    assert await house.states() == {"pending": 3}
    assert await house.rows(ATTEMPTS) == []
    assert [one["attempt"] for one in await house.rows(JOBS)] == [0, 0, 0]
    there.plans.clear()
    async with house.dispatching():
        await house.until_states({"delivered": 3})
    assert {one.headers["x-novapulse-attempt"] for one in there.told} == {"1"}


async def test_what_a_disabled_webhook_missed_comes_when_it_is_resumed_and_recovered(
    house: House, there: Sink, clock: StillClock
) -> None:
    """Held events by resuming it, those that had failed for good by recovering them."""
    webhook = await house.subscribe(f"{there.url}/a", retries=0)
    there.plans["/a"] = Plan(500)
    failed = await house.emit(2)
    async with house.dispatching():
        await house.until_states({"exhausted": 2})
        clock.jump(timedelta(days=5))
        failed += await house.emit(1)
        await until_recorded(house, "webhook.disabled")
        held = await house.emit(4)
        await house.until_states({"exhausted": 3, "held": 4})
        there.plans.clear()
        there.told.clear()
        await house.set_state(webhook, is_active=True)
        await house.until_states({"exhausted": 3, "delivered": 4})
        since = clock() - timedelta(days=6)
        await service.recover(house.context(), webhook, since=since)
        await house.until_states({"exhausted": 3, "delivered": 7})
    assert there.ids("/a") == dict.fromkeys(held + failed, 1)
