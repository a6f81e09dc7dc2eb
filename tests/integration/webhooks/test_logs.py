"""The log of attempts: one row each, newest first, in pages, found by what is asked for."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from novapulse.core.clock import rfc3339
from novapulse.core.ids import new_id
from novapulse.core.mongo import Document
from novapulse.deliveries.store import ATTEMPTS
from tests.support.api import RECEIVER_URL, Api, Person
from tests.support.attempts import attempt_row, write_attempts


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    return await api.found_company()


async def subscribe(person: Person) -> str:
    answer = await person.post("/webhooks", {"url": RECEIVER_URL, "events": ["*"]})
    return str(answer.json()["id"])


@pytest.fixture
async def webhook_id(ada: Person) -> str:
    return await subscribe(ada)


def of_one_delivery(ada: Person, webhook_id: str, count: int, start: datetime) -> list[Document]:
    """Every second attempt in the same millisecond as the one before."""
    event_id = new_id("evt")
    return [
        attempt_row(
            str(ada.company_id),
            webhook_id,
            at=start + timedelta(milliseconds=number // 2),
            eventId=event_id,
            attempt=number,
        )
        for number in range(1, count + 1)
    ]


async def walk(person: Person, path: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query = f"?limit={limit}"
    while query:
        answer = await person.get(path + query)
        assert answer.status == 200, answer
        page = answer.json()
        found += page["data"]
        cursor = page["page"]["nextCursor"]
        query = f"?limit={limit}&cursor={cursor}" if cursor else ""
    return found


async def test_a_webhook_that_was_not_called_has_an_empty_log(ada: Person, webhook_id: str) -> None:
    answer = await ada.get(f"/webhooks/{webhook_id}/logs")
    assert answer.json() == {"data": [], "page": {"nextCursor": None, "limit": 50}}


async def test_an_attempt_is_shown_with_what_came_of_it(
    api: Api, ada: Person, webhook_id: str
) -> None:
    (row,) = of_one_delivery(ada, webhook_id, 1, api.runtime.clock())
    await write_attempts(api, [row])
    (shown,) = (await ada.get(f"/webhooks/{webhook_id}/logs")).json()["data"]
    hidden = {"_id", "companyId", "expiresAt", "createdAt"}
    expected = {name: value for name, value in row.items() if name not in hidden}
    assert shown == {**expected, "id": row["_id"], "createdAt": rfc3339(row["createdAt"])}


@pytest.mark.parametrize("limit", [1, 4, 5, 200])
async def test_walking_the_log_meets_every_attempt_once(
    api: Api, ada: Person, webhook_id: str, limit: int
) -> None:
    await write_attempts(api, of_one_delivery(ada, webhook_id, 15, api.runtime.clock()))
    found = await walk(ada, f"/webhooks/{webhook_id}/logs", limit)
    assert sorted(one["attempt"] for one in found) == list(range(1, 16))
    order = [(one["createdAt"], one["id"]) for one in found]
    assert order == sorted(order, reverse=True)


async def test_attempts_of_other_webhooks_are_not_shown(
    api: Api, ada: Person, webhook_id: str
) -> None:
    at = api.runtime.clock()
    mine = of_one_delivery(ada, webhook_id, 1, at)
    theirs = of_one_delivery(ada, await subscribe(ada), 1, at)
    await write_attempts(api, mine + theirs)
    found = await walk(ada, f"/webhooks/{webhook_id}/logs", 50)
    assert [one["id"] for one in found] == [mine[0]["_id"]]


KINDS: list[dict[str, Any]] = [
    {"event": "task.created", "class": "ok", "status": 200},
    {"event": "task.created", "class": "transient", "status": 500},
    {"event": "task.created", "class": "transient", "status": None},
    {"event": "task.updated", "class": "transient", "status": 503},
    {"event": "task.updated", "class": "rejected", "status": 404},
    {"event": "user.created", "class": "ok", "status": 204},
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("class=ok", [0, 5]),
        ("class=transient", [1, 2, 3]),
        ("class=gone", []),
        ("status=404", [4]),
        ("status=500&class=transient", [1]),
        ("status=200&class=transient", []),
        ("event=task.updated", [3, 4]),
        ("event=task.created&class=ok", [0]),
        ("event=task.created&status=503", []),
        ("eventId={event_2}", [2]),
        ("eventId={event_2}&class=ok", []),
        ("deliveryId={delivery_3}", [3]),
        ("deliveryId={delivery_3}&eventId={event_3}", [3]),
        ("deliveryId={delivery_3}&eventId={event_2}", []),
        ("deliveryId={unknown}", []),
        ("from={time_2}", [2, 3, 4, 5]),
        ("to={time_2}", [0, 1]),
        ("from={time_1}&to={time_4}&class=transient", [1, 2, 3]),
        ("from={time_4}&to={time_1}", []),
        ("limit=2&class=transient", [2, 3]),
    ],
)
async def test_the_log_is_filtered(api: Api, ada: Person, query: str, expected: list[int]) -> None:
    webhook_id, start = await subscribe(ada), api.runtime.clock()
    rows = [
        attempt_row(str(ada.company_id), webhook_id, at=start + timedelta(seconds=number), **fields)
        for number, fields in enumerate(KINDS)
    ]
    await write_attempts(api, rows)
    await api.runtime.db.platform("webhook_deliveries").insert_many(
        [
            {"_id": row["deliveryId"], "eventId": row["eventId"], "companyId": row["companyId"]}
            | {"webhookId": webhook_id, "replay": 0}
            for row in rows
        ]
    )
    names = {"unknown": "dlv_" + "0" * 26}
    for number, row in enumerate(rows):
        names[f"event_{number}"] = row["eventId"]
        names[f"delivery_{number}"] = row["deliveryId"]
        names[f"time_{number}"] = rfc3339(row["createdAt"])
    answer = await ada.get(f"/webhooks/{webhook_id}/logs?{query.format(**names)}")
    assert answer.status == 200, answer.body
    found = [row["id"] for row in answer.json()["data"]]
    assert found == [rows[number]["_id"] for number in reversed(expected)]


@pytest.mark.parametrize(
    "query",
    [
        *(
            "",
            "class=ok",
            "class=gone",
            "status=500",
            "event=task.created",
            f"eventId={'evt_' + '0' * 26}",
        ),
        *("from=2026-01-01T00:00:00Z", "class=ok&event=task.created&status=200", "cursor={cursor}"),
    ],
)
async def test_every_filter_goes_by_an_index_and_nothing_is_sorted(
    api: Api, ada: Person, webhook_id: str, query: str
) -> None:
    """The database says how it found what the API asked for."""
    await write_attempts(api, of_one_delivery(ada, webhook_id, 3, api.runtime.clock()))
    first = (await ada.get(f"/webhooks/{webhook_id}/logs?limit=1")).json()
    query = query.replace("{cursor}", str(first["page"]["nextCursor"]))
    database = api.runtime.db.raw
    await database.command("profile", 2)
    try:
        assert (await ada.get(f"/webhooks/{webhook_id}/logs?{query}")).status == 200
    finally:
        await database.command("profile", 0)
    where = {"op": "query", "ns": f"{database.name}.{ATTEMPTS}"}
    (asked,) = await database["system.profile"].find(where).sort("ts", -1).limit(1).to_list()
    assert "IXSCAN" in asked["planSummary"]
    assert "COLLSCAN" not in asked["planSummary"]
    assert not asked.get("hasSortStage", False)


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "cursor=x", "event=task.created&event=x", "x=1", "event=task.*", "status=99"),
        *("class=fine", "eventId=x", "deliveryId=evt_", "from=yesterday", "status=ok"),
        "to=0001-01-01T00:00:00%2B10:00",
    ],
)
async def test_a_strange_query_is_unacceptable(ada: Person, webhook_id: str, query: str) -> None:
    assert (await ada.get(f"/webhooks/{webhook_id}/logs?{query}")).status == 422
