"""A sign-in from a device or an address that was not seen before is told to its owner."""

import asyncio
from typing import Any

from tests.support.api import PASSWORD, Api, Person
from tests.support.signin import MovingClock, mails

FIREFOX = "Mozilla/5.0 Firefox/145"
HOME, WORK = "192.0.2.7", "198.51.100.9"


async def sign_in(api: Api, email: str, *, device: str = FIREFOX, address: str = HOME) -> None:
    client = api.client(peer=address, **{"user-agent": device})
    answer = await client.post("/auth/login", {"email": email, "password": PASSWORD})
    assert answer.status == 200, answer.body


async def alarms(api: Api, person: Person) -> list[dict[str, Any]]:
    found = await mails(api, person.email)
    return [mail["data"] for mail in found if mail.get("template") == "new_sign_in"]


async def newcomer(api: Api) -> Person:
    """Somebody who has signed in once, with Firefox at home."""
    admin = await api.found_company()
    person = await api.add_member(str(admin.company_id))
    await api.runtime.db.platform("devices").delete_many({"userId": person.id})
    await sign_in(api, person.email)
    return person


async def test_the_first_sign_in_of_all_is_no_news(api: Api) -> None:
    ann = await newcomer(api)
    await sign_in(api, ann.email)
    assert await alarms(api, ann) == []


async def test_another_device_and_another_address_are_told_once_each(
    api: Api, clock: MovingClock
) -> None:
    ann = await newcomer(api)
    for _ in range(2):
        await sign_in(api, ann.email, device="curl/8")
        await sign_in(api, ann.email, address=WORK)
        clock.advance(days=2)
    told = await alarms(api, ann)
    assert {(one["device"], one["address"]) for one in told} == {
        ("curl/8", HOME),
        (FIREFOX, WORK),
    }
    assert len(told) == 2


async def test_a_device_that_is_used_now_and_then_stays_known(api: Api, clock: MovingClock) -> None:
    ann = await newcomer(api)
    for _ in range(4):
        clock.advance(days=100)
        await sign_in(api, ann.email)
    rows = await api.runtime.db.platform("devices").find({"userId": ann.id}, limit=9)
    assert [row["seenAt"] for row in rows] == [clock()]
    assert await alarms(api, ann) == []


async def test_an_ipv6_client_may_change_its_address_within_its_network(api: Api) -> None:
    ann = await newcomer(api)
    await sign_in(api, ann.email, address="2001:db8:1:2::1")
    await sign_in(api, ann.email, address="2001:db8:1:2:aaaa::9")
    assert len(await alarms(api, ann)) == 1


async def test_the_same_device_may_sign_in_often_at_once(api: Api) -> None:
    ann = await newcomer(api)
    await asyncio.gather(*(sign_in(api, ann.email, device="new") for _ in range(4)))
    assert len(await alarms(api, ann)) == 1


async def test_no_row_tells_which_devices_somebody_has(api: Api) -> None:
    ann = await newcomer(api)
    rows = await api.runtime.db.platform("devices").find({"userId": ann.id}, limit=9)
    assert "Firefox" not in str(rows)
    assert HOME not in str(rows)
