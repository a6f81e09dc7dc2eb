"""Webhooks over the API: change, pause, resume, headers, new secrets; who did it is recorded."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from novapulse.subscriptions import headers, secrets
from novapulse.subscriptions.sealed import SEALED
from novapulse.subscriptions.store import WEBHOOKS, SubscriptionStore
from tests.support.api import RECEIVER_URL, Api, Person, as_principal

OTHER_URL = "https://93.184.215.14/other"


@pytest.fixture
async def ada(api: Api) -> Person:
    return await api.found_company()


async def subscribe(person: Person, **fields: Any) -> dict[str, Any]:
    answer = await person.post("/webhooks", {"url": RECEIVER_URL, "events": ["*"], **fields})
    assert answer.status == 201, answer
    made: dict[str, Any] = answer.json()
    return made


async def recorded(api: Api, person: Person, webhook_id: str) -> list[tuple[str, Any]]:
    rows = await api.rows("events", companyId=person.company_id, resourceId=webhook_id)
    return [(row["type"], row["data"].get("changed")) for row in rows]


async def test_a_change_is_answered_with_the_whole_webhook(ada: Person) -> None:
    made = await subscribe(ada)
    path = f"/webhooks/{made['id']}"
    change = {
        "url": OTHER_URL,
        "events": ["task.*"],
        "retries": 0,
        "description": "new",
        "timeoutSeconds": 1,
        "rate": 7,
    }
    answer = await ada.patch(path, change)
    assert (answer.status, answer.headers["etag"]) == (200, '"2"')
    before = {name: value for name, value in made.items() if name != "secret"}
    after = answer.json()
    assert after == {**before, **change, "version": 2, "updatedAt": after["updatedAt"]}
    assert (await ada.get(path)).json() == after
    cleared = await ada.patch(path, {"description": None, "rate": None})
    assert (cleared.json()["description"], cleared.json()["rate"]) == (None, None)


async def test_a_change_of_nothing_writes_nothing(api: Api, ada: Person) -> None:
    made = await subscribe(ada, headers={"X-A": "1"})
    path = f"/webhooks/{made['id']}"
    for change in ({}, {"retries": 3}, {"events": ["*", "*"]}, {"headers": {"X-A": "1"}}):
        assert (await ada.patch(path, change)).json()["version"] == 1
    assert await recorded(api, ada, made["id"]) == [("webhook.created", None)]


async def test_a_change_honours_if_match(ada: Person) -> None:
    made = await subscribe(ada)
    path = f"/webhooks/{made['id']}"
    for version, status in (('"2"', 412), ('"1"', 200), ('"1"', 412)):
        answer = await ada.patch(path, {"retries": 9}, headers={"if-match": version})
        assert answer.status == status


async def test_changes_at_the_same_time_are_all_kept(ada: Person) -> None:
    made = await subscribe(ada)
    path = f"/webhooks/{made['id']}"
    changes = [{"retries": 9}, {"rate": 3}, {"description": "x"}, {"timeoutSeconds": 2}]
    answers = await asyncio.gather(*(ada.patch(path, change) for change in changes))
    assert {answer.status for answer in answers} == {200}
    after = (await ada.get(path)).json()
    assert after["version"] == 5
    for change in changes:
        assert change.items() <= after.items()


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"url": "http://127.0.0.1/"}, "url"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "url"),
        ({"events": ["task.nothing"]}, "events[0]"),
        ({"headers": {"webhook-id": "x"}}, "headers.webhook-id"),
        ({"state": "active"}, "state"),
    ],
)
async def test_an_unacceptable_change_changes_nothing(
    ada: Person, change: dict[str, Any], path: str
) -> None:
    made = await subscribe(ada)
    answer = await ada.patch(f"/webhooks/{made['id']}", change)
    assert (answer.status, answer.paths) == (422, [path])
    assert (await ada.get(f"/webhooks/{made['id']}")).json()["version"] == 1


async def test_pausing_and_resuming_are_the_same_as_is_active(api: Api, ada: Person) -> None:
    made = await subscribe(ada)
    path = f"/webhooks/{made['id']}"
    for verb, state in (("pause", "paused"), ("pause", "paused"), ("resume", "active")):
        answer = await ada.post(f"{path}/{verb}")
        assert (answer.status, answer.json()["state"]) == (200, state)
        assert answer.json()["isActive"] is (state == "active")
    assert (await ada.patch(path, {"isActive": False})).json()["state"] == "paused"
    assert (await ada.patch(path, {"isActive": True})).json()["state"] == "active"
    assert await recorded(api, ada, made["id"]) == [
        ("webhook.created", None),
        ("webhook.paused", None),
        ("webhook.resumed", None),
        ("webhook.updated", ["isActive", "state"]),
        ("webhook.updated", ["isActive", "state"]),
    ]
    # Each of them has what waits brought in line with it.
    jobs = await api.rows("jobs", companyId=ada.company_id, kind="webhook.settle")
    assert [job["payload"] for job in jobs] == [{"webhook_id": made["id"]}] * 4


async def test_a_disabled_webhook_is_resumed_by_hand(api: Api, ada: Person) -> None:
    made = await subscribe(ada)
    ctx = api.context(as_principal(ada))
    async with ctx.transaction() as tx:
        found = await SubscriptionStore(tx).get(made["id"])
        await api.runtime.db.platform(WEBHOOKS).update_one(
            {"_id": made["id"]},
            {"$set": {"state": "disabled", "isActive": False, "disabledReason": "why"}},
        )
    assert found.webhook.is_active
    path = f"/webhooks/{made['id']}"
    shown = (await ada.get(path)).json()
    assert (shown["state"], shown["isActive"], shown["disabledReason"]) == (
        "disabled",
        False,
        "why",
    )
    assert (await ada.post(f"{path}/pause")).json()["state"] == "disabled"
    resumed = (await ada.post(f"{path}/resume")).json()
    assert (resumed["state"], resumed["disabledReason"]) == ("active", None)


async def opened(api: Api, person: Person, webhook_id: str) -> dict[str, str]:
    ctx = api.context(as_principal(person))
    found = await SubscriptionStore(ctx.read()).get(webhook_id)
    return headers.unseal(api.runtime.keys, found)


async def test_own_headers_are_named_and_their_values_never_shown(api: Api, ada: Person) -> None:
    value = "Bearer s3cret-of-the-receiver"
    made = await subscribe(ada, headers={"Authorization": value, "X-Team": "a"})
    path = f"/webhooks/{made['id']}"
    assert made["headerNames"] == ["Authorization", "X-Team"]
    assert await opened(api, ada, made["id"]) == {"Authorization": value, "X-Team": "a"}
    changed = await ada.patch(path, {"headers": {"x-team": None, "X-New": "b"}})
    assert changed.json()["headerNames"] == ["Authorization", "X-New"]
    assert await opened(api, ada, made["id"]) == {"Authorization": value, "X-New": "b"}
    renewed = await ada.patch(path, {"headers": {"Authorization": "Bearer s3cret-2"}})
    assert renewed.json()["version"] == 3
    assert (await recorded(api, ada, made["id"]))[-1] == ("webhook.updated", ["headers"])
    for answer in (changed, renewed, await ada.get(path), await ada.get("/webhooks")):
        assert b"s3cret" not in answer.body
    for collection in await api.collections():
        assert "s3cret" not in repr(await api.rows(collection)), collection
    gone = await ada.patch(path, {"headers": None})
    assert gone.json()["headerNames"] == []
    assert await opened(api, ada, made["id"]) == {}


async def test_all_that_is_sealed_is_found_for_a_rotation_of_the_keys(
    api: Api, ada: Person
) -> None:
    made = await subscribe(ada, headers={"X-A": "1"})
    (row,) = await api.rows(WEBHOOKS, _id=made["id"])
    spots = list(SEALED[0].spots(row))
    assert [spot.path for spot in spots] == ["secrets.0.sealed", "sealedHeaders"]
    for spot in spots:
        spot.check(api.runtime.keys)


async def live(api: Api, person: Person, webhook_id: str, *, after: float = 0) -> list[str]:
    ctx = api.context(as_principal(person))
    found = await SubscriptionStore(ctx.read()).get(webhook_id)
    moment = datetime.now(UTC) + timedelta(seconds=after)
    return [one.value for one in secrets.live(api.runtime.keys, found, moment)]


async def test_a_new_secret_is_shown_once_and_overlaps_with_the_former(
    api: Api, ada: Person
) -> None:
    made = await subscribe(ada)
    path = f"/webhooks/{made['id']}"
    answer = await ada.post(f"{path}/rotate-secret", {"overlapSeconds": 600})
    assert answer.status == 200
    renewed = answer.json()
    assert renewed["secret"] != made["secret"]
    assert (renewed["keyId"] != made["keyId"], renewed["version"]) == (True, 2)
    assert await live(api, ada, made["id"]) == [renewed["secret"], made["secret"]]
    assert await live(api, ada, made["id"], after=601) == [renewed["secret"]]
    shown = await ada.get(path)
    assert "secret" not in shown.json()
    assert shown.json()["keyId"] == renewed["keyId"]
    assert (await recorded(api, ada, made["id"]))[-1] == ("webhook.secret_rotated", None)
    for collection in await api.collections():
        assert renewed["secret"] not in repr(await api.rows(collection)), collection


async def test_an_overlap_is_a_day_unless_told_and_none_ends_all_former_ones(
    api: Api, ada: Person
) -> None:
    made = await subscribe(ada)
    path = f"/webhooks/{made['id']}/rotate-secret"
    assert (await ada.post(path, {})).status == 200
    assert len(await live(api, ada, made["id"], after=86_000)) == 2
    assert len(await live(api, ada, made["id"], after=86_401)) == 1
    last = (await ada.post(path, {"overlapSeconds": 0})).json()
    assert await live(api, ada, made["id"]) == [last["secret"]]


async def test_a_sixth_live_secret_is_refused(ada: Person) -> None:
    made = await subscribe(ada)
    path = f"/webhooks/{made['id']}/rotate-secret"
    statuses = [(await ada.post(path, {})).status for _ in range(5)]
    assert statuses == [200, 200, 200, 200, 409]
    assert (await ada.post(path, {})).code == "too_many_secrets"
    assert (await ada.post(path, {"overlapSeconds": 0})).status == 200


async def test_a_rotation_that_is_repeated_by_its_key_is_one(api: Api, ada: Person) -> None:
    made = await subscribe(ada)
    path, once = f"/webhooks/{made['id']}/rotate-secret", {"idempotency-key": "k1"}
    first, again = [await ada.post(path, {}, headers=once) for _ in range(2)]
    assert first.json() == again.json()
    assert len(await live(api, ada, made["id"])) == 2


async def test_unsubscribing_is_recorded_and_has_the_rest_discarded(api: Api, ada: Person) -> None:
    made = await subscribe(ada)
    assert (await ada.delete(f"/webhooks/{made['id']}")).status == 204
    assert (await recorded(api, ada, made["id"]))[-1] == ("webhook.deleted", None)
    (job,) = await api.rows("jobs", companyId=ada.company_id, kind="webhook.settle")
    assert job["payload"] == {"webhook_id": made["id"]}


async def test_what_an_administrator_did_is_no_webhooks_business(api: Api, ada: Person) -> None:
    made = await subscribe(ada)
    await ada.post(f"/webhooks/{made['id']}/pause")
    rows = await api.rows("events", companyId=ada.company_id, resourceId=made["id"])
    assert {row["isPlanned"] for row in rows} == {True}
    assert {row["actor"]["userId"] for row in rows} == {ada.id}
    assert "secret" not in repr([row["data"] for row in rows])
