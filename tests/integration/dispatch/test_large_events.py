"""256 KiB is what a webhook carries: what is larger is discarded with its reason, once."""

from datetime import timedelta

from novapulse.core.jobs.rows import JOBS
from novapulse.deliveries import planner, service
from novapulse.deliveries.model import MAX_BODY_BYTES
from novapulse.deliveries.store import ATTEMPTS
from tests.support.dispatching import COMPANY, House, Sink

REASON = "the event is larger than 256 KiB"


async def emit_of_size(house: House, size: int) -> str:
    """An event whose body has that many bytes; its id."""
    (empty,) = house.events(1, "task.created", company_id=COMPANY)
    missing = size - len(empty.body())
    (event,) = house.events(1, "task.created", company_id=COMPANY, text="x" * missing)
    assert len(event.body()) == size
    await house.plan([event])
    return event.id


async def test_one_byte_too_many_is_discarded_with_its_reason_and_the_rest_goes_on(
    house: House, there: Sink
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    greatest = await emit_of_size(house, MAX_BODY_BYTES)
    larger = await emit_of_size(house, MAX_BODY_BYTES + 1)
    small = (await house.emit())[0]
    async with house.dispatching():
        await house.until_states({"delivered": 2, "discarded": 1})
        (row,) = await house.deliveries(eventId=larger)
        assert (row["state"], row["reason"], row.get("status")) == ("discarded", REASON, None)
        assert there.ids("/a") == {greatest: 1, small: 1}
        assert max(len(one.body) for one in there.told) == 256 * 1024
        assert len(await house.rows(ATTEMPTS)) == 2, "nothing was sent, so nothing was tried"
        await again_in_every_way(house, webhook, row["_id"])
    jobs = await house.rows(JOBS, kind=planner.DELIVER, state="dead")
    assert len(jobs) == 3
    assert {job["attempt"] for job in jobs} == {1}
    assert all(REASON in str(job["errors"]) for job in jobs)
    assert there.ids("/a") == {greatest: 1, small: 1}
    assert await house.recorded("webhook.failing") == [], "its receiver is not to blame"


async def again_in_every_way(house: House, webhook: str, delivery: str) -> None:
    """Replay and recovery end the same way, each once."""
    await service.replay(house.context(), delivery)
    await house.until_states({"delivered": 2, "discarded": 2})
    since = house.runtime.clock() - timedelta(hours=1)
    await service.recover(house.context(), webhook, since=since)
    await house.until_states({"delivered": 2, "discarded": 3})
