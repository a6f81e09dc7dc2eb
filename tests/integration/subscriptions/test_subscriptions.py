"""Webhooks over the API: subscribe, read, list, unsubscribe; the secret is shown once."""

import asyncio
from typing import Any

import pytest

from novapulse.core.access import Role
from novapulse.core.crypto import Unsealable
from novapulse.core.documents import new_object_id
from novapulse.core.mongo import Document
from novapulse.subscriptions import secrets
from novapulse.subscriptions.model import MAX_WEBHOOKS
from novapulse.subscriptions.store import WEBHOOKS, SubscriptionStore
from tests.support.api import RECEIVER_URL, Api, Person, as_principal

MISSING = "0" * 24


@pytest.fixture
async def ada(api: Api) -> Person:
    return await api.found_company()


async def subscribe(person: Person, **fields: Any) -> dict[str, Any]:
    answer = await person.post("/webhooks", {"url": RECEIVER_URL, "events": ["*"], **fields})
    assert answer.status == 201, answer
    made: dict[str, Any] = answer.json()
    return made


async def test_a_subscription_is_answered_with_its_secret(ada: Person) -> None:
    given = {
        "url": "https://93.184.215.14:8443/in/Ä?key=value",
        "events": ["task.*", "user.created", "task.*"],
        "retries": 0,
        "isActive": False,
        "description": "the other house",
        "timeoutSeconds": 30,
        "rate": 5,
    }
    answer = await ada.post("/webhooks", given)
    assert answer.status == 201
    made = answer.json()
    assert made == {
        **given,
        "events": ["task.*", "user.created"],
        "id": made["id"],
        "state": "paused",
        "disabledReason": None,
        "headerNames": [],
        "keyId": made["keyId"],
        "createdAt": made["createdAt"],
        "updatedAt": made["createdAt"],
        "version": 1,
        "secret": made["secret"],
    }
    assert made["secret"].startswith("whsec_")
    assert answer.headers["etag"] == '"1"'


async def test_the_secret_is_shown_only_once(ada: Person) -> None:
    made = await subscribe(ada)
    read = await ada.get(f"/webhooks/{made['id']}")
    assert read.json() == {name: value for name, value in made.items() if name != "secret"}
    listed = await ada.get("/webhooks")
    assert listed.json()["data"] == [read.json()]
    for answer in (read, listed):
        assert made["secret"] not in answer.body.decode()
        assert b"sealed" not in answer.body


async def test_the_secret_is_sealed_at_rest(api: Api, ada: Person) -> None:
    made = await subscribe(ada)
    secret = made["secret"]
    for collection in await api.collections():
        rows = repr(await api.rows(collection))
        assert secret not in rows, collection
        assert secret.removeprefix("whsec_") not in rows, collection
    ctx = api.context(as_principal(ada))
    subscription = await SubscriptionStore(ctx.read()).get(made["id"])
    (live,) = secrets.live(ctx.runtime.keys, subscription, ctx.now())
    assert (live.id, live.value) == (made["keyId"], secret)


async def sealed_row(api: Api, webhook_id: str) -> Document:
    (row,) = await api.rows(WEBHOOKS, _id=webhook_id)
    return row


async def test_a_sealed_secret_opens_in_no_other_webhook(api: Api, ada: Person) -> None:
    one, other = await subscribe(ada), await subscribe(ada)
    stolen = (await sealed_row(api, one["id"]))["secrets"]
    where = {"_id": other["id"]}
    await api.runtime.db.platform(WEBHOOKS).update_one(where, {"$set": {"secrets": stolen}})
    ctx = api.context(as_principal(ada))
    subscription = await SubscriptionStore(ctx.read()).get(other["id"])
    with pytest.raises(Unsealable):
        secrets.live(ctx.runtime.keys, subscription, ctx.now())


async def test_every_webhook_has_a_secret_of_its_own(ada: Person) -> None:
    made = {(await subscribe(ada))["secret"] for _ in range(5)}
    assert len(made) == 5


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost:5000/api/v1/tasks",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://user:password@93.184.215.14/",
        "ftp://93.184.215.14/",
        "file:///etc/passwd",
        "//93.184.215.14/",
        "93.184.215.14",
        "http://",
        "http://93.184.215.14:0/",
        "http://93.184.215.14/#x",
        "http://93.184.215.14/a b",
        "http://93.184.215.14/\nx",
        "javascript:alert(1)",
    ],
)
async def test_a_url_that_may_not_be_called_is_unacceptable(ada: Person, url: str) -> None:
    answer = await ada.post("/webhooks", {"url": url, "events": ["*"]})
    assert (answer.status, answer.paths) == (422, ["url"])
    assert (await ada.get("/webhooks")).json()["data"] == []


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"events": []}, "events"),
        ({"events": ["task"]}, "events[0]"),
        ({"events": ["*", "task.*.x"]}, "events[1]"),
        ({"retries": 21}, "retries"),
        ({"timeoutSeconds": 0}, "timeoutSeconds"),
        ({"secret": "whsec_mine"}, "secret"),
        ({"companyId": MISSING}, "companyId"),
        ({"headers": {"x": {"$ne": 1}}}, "headers"),
        ({"headers": {"Host": "x"}}, "headers.Host"),
        ({"headers": {"X-A": "a\r\nb"}}, "headers.X-A"),
        ({"rate": 0}, "rate"),
    ],
)
async def test_unacceptable_values_are_named(ada: Person, changes: Any, path: str) -> None:
    answer = await ada.post("/webhooks", {"url": RECEIVER_URL, "events": ["*"], **changes})
    assert answer.status == 422
    assert answer.paths[0].startswith(path)


async def test_a_list_walks_all_webhooks_newest_first(ada: Person) -> None:
    made = [(await subscribe(ada))["id"] for _ in range(7)]
    met: list[str] = []
    query = "limit=3"
    while query:
        page = (await ada.get(f"/webhooks?{query}")).json()
        met += [webhook["id"] for webhook in page["data"]]
        cursor = page["page"]["nextCursor"]
        query = f"limit=3&cursor={cursor}" if cursor else ""
    assert met == made[::-1]


async def test_unsubscribing_ends_it(ada: Person) -> None:
    made = await subscribe(ada)
    path = f"/webhooks/{made['id']}"
    answer = await ada.delete(path)
    assert (answer.status, answer.body) == (204, b"")
    for after in (await ada.get(path), await ada.delete(path), await ada.get(f"{path}/logs")):
        assert after.status == 404


async def test_unsubscribing_honours_if_match(ada: Person) -> None:
    made = await subscribe(ada)
    path = f"/webhooks/{made['id']}"
    stale = await ada.delete(path, headers={"if-match": '"2"'})
    assert (stale.status, stale.code) == (412, "version_conflict")
    assert (await ada.delete(path, headers={"if-match": '"1"'})).status == 204


async def test_unsubscribing_at_once_happens_once(ada: Person) -> None:
    made = await subscribe(ada)
    answers = await asyncio.gather(*(ada.delete(f"/webhooks/{made['id']}") for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [204] + [404] * 7


async def test_another_companys_webhook_is_as_missing_as_none(api: Api, ada: Person) -> None:
    eve = await api.found_company()
    made = await subscribe(ada)
    calls = [("GET", ""), ("DELETE", ""), ("GET", "/logs"), ("GET", "/deliveries")]
    calls += [("POST", "/pause"), ("POST", "/resume"), ("POST", "/test")]
    for method, tail in calls:
        there = await eve.request(method, f"/webhooks/{made['id']}{tail}")
        nowhere = await eve.request(method, f"/webhooks/{MISSING}{tail}")
        assert there.status == 404
        assert there.anonymous_body() == nowhere.anonymous_body()
    assert (await eve.get("/webhooks")).json()["data"] == []
    assert (await ada.get(f"/webhooks/{made['id']}")).status == 200


async def test_who_may_do_what(api: Api, ada: Person) -> None:
    made = await subscribe(ada)
    company = str(ada.company_id)
    manager = await api.add_member(company, Role.MANAGER)
    user = await api.add_member(company, Role.USER)
    hook = {"url": RECEIVER_URL, "events": ["*"]}
    for person, reads, writes in ((manager, 200, 403), (user, 403, 403)):
        for path in ("/webhooks", f"/webhooks/{made['id']}", f"/webhooks/{made['id']}/logs"):
            assert (await person.get(path)).status == reads
        assert (await person.post("/webhooks", hook)).status == writes
        assert (await person.delete(f"/webhooks/{made['id']}")).status == writes


async def test_a_company_has_a_limited_number_of_them(api: Api, ada: Person) -> None:
    first = await subscribe(ada)
    row = await sealed_row(api, first["id"])
    rows = api.runtime.db.tenant(str(ada.company_id)).rows(WEBHOOKS)
    await rows.insert_many([{**row, "_id": new_object_id()} for _ in range(MAX_WEBHOOKS - 2)])
    await subscribe(ada)
    answer = await ada.post("/webhooks", {"url": RECEIVER_URL, "events": ["*"]})
    assert (answer.status, answer.code) == (409, "too_many_webhooks")
