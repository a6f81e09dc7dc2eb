"""Two dispatchers on one queue: what one has read ahead the other may have tried meanwhile."""

from novapulse.core.jobs.rows import JOBS
from novapulse.core.jobs.states import Outcome, State
from novapulse.deliveries.store import ATTEMPTS
from novapulse.dispatch.dispatcher import Dispatcher
from tests.support.dispatching import LEASE_SECONDS, Plan, Sink, open_house
from tests.support.stores import RunningStores


async def test_a_retry_that_another_has_read_ahead_waits_for_its_time_and_counts_on(
    stores: RunningStores, there: Sink
) -> None:
    """One webhook with one slot: the second stands with a row in its hand while the first sends."""
    async with open_house(stores, max_in_flight_per_webhook=1) as house:
        await house.subscribe(f"{there.url}/a")
        await house.emit(2)
        there.plans["/a"] = Plan(429, headers="Retry-After: 3600\r\n")
        second = Dispatcher(house.runtime)
        parts = second.worker_parts(owner="second", concurrency=200, lease_seconds=LEASE_SECONDS)
        ledger, intake = parts["ledger"], parts["intake"]
        (held,), _ = await intake.claim(0, 0, unwritten=0)
        async with house.dispatching():
            await house.until_states({"retry": 1, "pending": 1})
        await ledger.finish([(held, Outcome(State.COMPLETED))])
        intake.free(held)
        assert (await intake.claim(0, 0, unwritten=0))[0] == []
        (job,) = await house.rows(JOBS, state="retryable")
        assert job["attempt"] == 1

        there.plans.clear()
        await house.hurry()
        async with house.dispatching():
            await house.until_states({"delivered": 1, "pending": 1})
        attempts = await house.rows(ATTEMPTS, deliveryId=job["payload"]["delivery_id"])
        assert [row["attempt"] for row in attempts] == [1, 2]
        await second.aclose()
