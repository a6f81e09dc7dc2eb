"""The list of deliveries, replaying one, recovering many, and trying a webhook."""

import json
from datetime import timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook

from novapulse.core.access import Role
from novapulse.core.clock import rfc3339
from novapulse.core.ids import new_id
from novapulse.core.mongo import Binary
from novapulse.core.settings import sections as keys
from novapulse.deliveries.model import DeliveryState
from novapulse.deliveries.store import DELIVERIES, HEALTH
from tests.support.api import RECEIVER_URL, Api, Person, open_api
from tests.support.attempts import delivery_row, write_deliveries
from tests.support.receivers import receiving
from tests.support.stores import RunningStores


@pytest.fixture
async def ada(api: Api) -> Person:
    return await api.found_company()


async def subscribe(person: Person, url: str = RECEIVER_URL, **fields: Any) -> dict[str, Any]:
    answer = await person.post("/webhooks", {"url": url, "events": ["*"], **fields})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json()
    return made


STATES = ["delivered", "delivered", "pending", "retry", "exhausted", "discarded", "held"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [0, 1, 2, 3, 4, 5, 6]),
        ("state=delivered", [0, 1]),
        ("state=pending", [2]),
        ("state=retry", [3]),
        ("state=exhausted", [4]),
        ("state=held", [6]),
        ("state=sending", []),
        ("event=task.updated", [1, 3, 5]),
        ("event=task.updated&state=discarded", [5]),
        ("eventId={event_4}", [4]),
        ("eventId={event_4}&state=held", []),
        ("from={time_3}&state=held", [6]),
        ("to={time_2}", [0, 1]),
    ],
)
async def test_deliveries_are_listed_by_what_is_asked_for(
    api: Api, ada: Person, query: str, expected: list[int]
) -> None:
    webhook, start = await subscribe(ada), api.runtime.clock()
    rows = [
        delivery_row(
            str(ada.company_id),
            webhook["id"],
            at=start + timedelta(seconds=number),
            state=state,
            event=("task.created", "task.updated")[number % 2],
        )
        for number, state in enumerate(STATES)
    ]
    await write_deliveries(api, rows)
    names = {f"event_{number}": row["eventId"] for number, row in enumerate(rows)}
    names |= {f"time_{number}": rfc3339(row["createdAt"]) for number, row in enumerate(rows)}
    answer = await ada.get(f"/webhooks/{webhook['id']}/deliveries?{query.format(**names)}")
    assert answer.status == 200, answer.body
    found = [row["id"] for row in answer.json()["data"]]
    assert found == [rows[number]["_id"] for number in reversed(expected)]


@pytest.mark.parametrize(
    "query",
    [
        *("", "event=task.created", f"eventId={'evt_' + '0' * 26}", "from=2026-01-01T00:00:00Z"),
        *(f"state={state}" for state in DeliveryState),
        "state=held&event=task.created&to=2030-01-01T00:00:00Z",
    ],
)
async def test_every_filter_of_the_list_goes_by_an_index(api: Api, ada: Person, query: str) -> None:
    """The database says how it found what the API asked for."""
    webhook, at = await subscribe(ada), api.runtime.clock()
    rows = [delivery_row(str(ada.company_id), webhook["id"], at=at, state=one) for one in STATES]
    await write_deliveries(api, rows)
    database = api.runtime.db.raw
    await database.command("profile", 2)
    try:
        assert (await ada.get(f"/webhooks/{webhook['id']}/deliveries?{query}")).status == 200
    finally:
        await database.command("profile", 0)
    where = {"op": "query", "ns": f"{database.name}.{DELIVERIES}"}
    (asked,) = await database["system.profile"].find(where).sort("ts", -1).limit(1).to_list()
    assert "COLLSCAN" not in asked["planSummary"]
    # An empty set of ids (nothing is being sent) is known to be nothing without a look.
    assert "IXSCAN" in asked["planSummary"] or asked["docsExamined"] == 0


async def test_a_replay_is_a_new_delivery_of_the_same_event(api: Api, ada: Person) -> None:
    webhook, at = await subscribe(ada), api.runtime.clock()
    row = delivery_row(str(ada.company_id), webhook["id"], at=at)
    await write_deliveries(api, [row])
    await api.runtime.db.platform("events").insert(
        {
            "_id": row["eventId"],
            "companyId": ada.company_id,
            "createdAt": at,
            "isPlanned": True,
            "isSealed": True,
            "body": Binary(b"{}"),
        }
    )
    made = [await ada.post(f"/webhooks/deliveries/{row['_id']}/replay") for _ in range(2)]
    assert [one.status for one in made] == [202, 202]
    assert [one.json()["replay"] for one in made] == [1, 2]
    assert {one.json()["eventId"] for one in made} == {row["eventId"]}
    assert {one.json()["trigger"] for one in made} == {"replay"}
    listed = await ada.get(f"/webhooks/{webhook['id']}/deliveries")
    assert [one["id"] for one in listed.json()["data"]][-1] == row["_id"]
    events = await api.rows("events", companyId=ada.company_id, type="delivery.replayed")
    assert [one["resourceId"] for one in events] == [one.json()["id"] for one in made]


async def test_what_is_not_there_can_not_be_replayed(api: Api, ada: Person) -> None:
    eve = await api.found_company()
    webhook = await subscribe(eve)
    row = delivery_row(str(eve.company_id), webhook["id"], at=api.runtime.clock())
    await write_deliveries(api, [row])
    unknown = new_id("dlv")
    theirs = await ada.post(f"/webhooks/deliveries/{row['_id']}/replay")
    nowhere = await ada.post(f"/webhooks/deliveries/{unknown}/replay")
    assert theirs.status == nowhere.status == 404
    assert theirs.anonymous_body() == nowhere.anonymous_body()
    kept_no_more = await eve.post(f"/webhooks/deliveries/{row['_id']}/replay")
    assert (kept_no_more.status, kept_no_more.code) == (409, "not_replayable")


async def test_a_recovery_is_a_job_and_recorded(api: Api, ada: Person) -> None:
    webhook, now = await subscribe(ada), api.runtime.clock()
    span = {"since": rfc3339(now - timedelta(days=13)), "until": rfc3339(now)}
    begun = await ada.post(f"/webhooks/{webhook['id']}/recover", span)
    assert begun.status == 202, begun.body
    job = await ada.get(f"/jobs/{begun.json()['jobId']}")
    assert (job.status, job.json()["kind"]) == (200, "webhook.recover")
    (event,) = await api.rows("events", type="webhook.recovery_started")
    assert event["data"]["recovery"]["jobId"] == begun.json()["jobId"]


@pytest.mark.parametrize(
    ("days", "until"), [(15, 0), (-1, 0), (1, 2), (1, 1)], ids=["old", "future", "upside", "empty"]
)
async def test_a_recovery_of_another_span_is_refused(
    api: Api, ada: Person, days: int, until: int
) -> None:
    webhook, now = await subscribe(ada), api.runtime.clock()
    command = {"since": rfc3339(now - timedelta(days=days))}
    if until:
        command["until"] = rfc3339(now - timedelta(days=until))
    answer = await ada.post(f"/webhooks/{webhook['id']}/recover", command)
    assert (answer.status, answer.paths) == (422, ["since"])


async def test_the_health_of_a_webhook_is_what_its_sender_noted(api: Api, ada: Person) -> None:
    webhook, at = await subscribe(ada), api.runtime.clock()
    path = f"/webhooks/{webhook['id']}/health"
    assert set((await ada.get(path)).json().values()) == {None}
    answer = {"class": "transient", "status": 500, "error": None, "at": at}
    row = {"_id": webhook["id"], "companyId": ada.company_id, "failingSince": at}
    await api.runtime.db.platform(HEALTH).insert({**row, "lastAnswer": answer})
    shown = (await ada.get(path)).json()
    assert (shown["failingSince"], shown["lastAnswer"]["status"]) == (rfc3339(at), 500)
    assert (await ada.get(f"/webhooks/{'0' * 24}/health")).status == 404


async def test_who_may_send_again(api: Api, ada: Person) -> None:
    webhook, company = await subscribe(ada), str(ada.company_id)
    manager = await api.add_member(company, Role.MANAGER)
    path = f"/webhooks/{webhook['id']}"
    assert (await manager.get(f"{path}/deliveries")).status == 200
    for tail in ("/test", "/pause", "/resume"):
        assert (await manager.post(path + tail)).status == 403
    assert (await manager.post(f"{path}/rotate-secret", {})).status == 403
    assert (
        await manager.post(f"{path}/recover", {"since": rfc3339(api.runtime.clock())})
    ).status == 403
    assert (await manager.patch(path, {"retries": 1})).status == 403


async def test_a_test_is_sent_at_once_signed_and_logged(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here = keys.Webhooks(allow_networks=("127.0.0.1/32",))
    directory = tmp_path_factory.mktemp("api")
    async with open_api(stores, directory, webhooks=here) as api, receiving() as receiver:
        ada = await api.found_company()
        own = {"headers": {"X-Team": "blue"}, "isActive": False}
        webhook = await subscribe(ada, receiver.url(path="/in"), **own, events=["task.created"])
        answer = await ada.post(f"/webhooks/{webhook['id']}/test")
        assert answer.status == 200, answer.body
        attempt = answer.json()
        assert (attempt["class"], attempt["status"], attempt["trigger"]) == ("ok", 200, "test")
        assert (attempt["body"], attempt["keyId"]) == ("ok", webhook["keyId"])
        (request,) = receiver.requests
        head, _, body = request.partition(b"\r\n\r\n")
        lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
        headers = {name.lower(): value for name, _, value in lines}
        assert headers["x-team"] == "blue"
        StandardWebhook(webhook["secret"]).verify(body, headers)
        event = json.loads(body)
        assert (event["event"], event["data"]["webhook"]["id"]) == ("webhook.test", webhook["id"])
        logged = (await ada.get(f"/webhooks/{webhook['id']}/logs")).json()["data"]
        assert logged == [attempt]
        await receiver_that_is_gone(ada, webhook["id"])


async def receiver_that_is_gone(ada: Person, webhook_id: str) -> None:
    """A test that does not arrive is an answer, too."""
    async with receiving() as gone:
        url = gone.url()
    assert (await ada.patch(f"/webhooks/{webhook_id}", {"url": url})).status == 200
    attempt = (await ada.post(f"/webhooks/{webhook_id}/test")).json()
    assert (attempt["class"], attempt["status"]) == ("transient", None)
    assert attempt["error"].startswith("connect: ")
