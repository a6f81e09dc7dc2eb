"""The leader lease."""

import asyncio
from datetime import timedelta

import pytest

from novapulse.core.documents import new_object_id
from novapulse.core.leader import LEASE_SECONDS, LEASES, RENEW_SECONDS, Leadership
from tests.support.api import Api


@pytest.fixture
def name() -> str:
    """A lease that no other test asks for."""
    return f"lease-{new_object_id()}"


def candidates(api: Api, name: str, count: int = 2) -> list[Leadership]:
    return [Leadership(api.runtime.db, f"house/{n}", name=name) for n in range(count)]


async def lapse(api: Api, name: str) -> None:
    """As if the leader had been silent for the whole lease."""
    rows = api.runtime.db.platform(LEASES)
    row = await rows.find_one({"_id": name})
    assert row is not None
    long_ago = row["until"] - timedelta(seconds=LEASE_SECONDS + 60)
    await rows.update_one({"_id": name}, {"$set": {"until": long_ago}})


async def test_the_first_leads_and_the_others_do_not(api: Api, name: str) -> None:
    first, second = candidates(api, name)
    assert await first.take()
    assert not await second.take()
    assert await first.take(), "renewing keeps it"
    assert await first.holder() == await second.holder() == "house/0"


async def test_of_many_at_once_exactly_one_leads(api: Api, name: str) -> None:
    taken = await asyncio.gather(*(one.take() for one in candidates(api, name, 20)))
    assert taken.count(True) == 1
    again = await asyncio.gather(*(one.take() for one in candidates(api, name, 20)))
    assert again == taken


async def test_a_silent_leader_is_replaced_when_the_lease_has_run_out(api: Api, name: str) -> None:
    first, second = candidates(api, name)
    await first.take()
    await lapse(api, name)
    assert await second.take()
    assert not await first.take(), "it comes back and finds another one leading"


async def test_of_many_successors_exactly_one_leads(api: Api, name: str) -> None:
    first, *others = candidates(api, name, 12)
    await first.take()
    await lapse(api, name)
    taken = await asyncio.gather(*(one.take() for one in others))
    assert taken.count(True) == 1


async def test_a_leader_that_is_known_to_be_gone_is_replaced_at_once(api: Api, name: str) -> None:
    first, second, third = candidates(api, name, 3)
    await first.take()
    assert not await second.take(gone=("house/9",))
    assert await second.take(gone=("house/9", "house/0"))
    assert not await third.take(gone=("house/0",)), "who is gone leads no more"
    assert await first.holder() == "house/1"


async def test_who_gives_up_makes_room(api: Api, name: str) -> None:
    first, second = candidates(api, name)
    await first.take()
    await second.give_up()
    assert await first.holder() == "house/0", "only the holder can give up"
    await first.give_up()
    assert await first.holder() is None
    assert await second.take()


async def test_renewing_pushes_the_lease_by_the_databases_clock(api: Api, name: str) -> None:
    first, _ = candidates(api, name)
    await first.take()
    rows = api.runtime.db.platform(LEASES)
    before = await rows.find_one({"_id": name})
    await asyncio.sleep(0.05)
    await first.take()
    after = await rows.find_one({"_id": name})
    assert before is not None
    assert after is not None
    assert after["until"] > before["until"]
    ahead = (after["until"] - api.runtime.clock()).total_seconds()
    assert 0 < ahead <= LEASE_SECONDS + 1


def test_a_leader_renews_well_before_the_lease_runs_out() -> None:
    assert RENEW_SECONDS * 3 < LEASE_SECONDS


async def test_leases_of_other_names_are_others(api: Api, name: str) -> None:
    (first, _), (_, other) = candidates(api, name), candidates(api, f"{name}-other")
    assert await first.take()
    assert await other.take()
