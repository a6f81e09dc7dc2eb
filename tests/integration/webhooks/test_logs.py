"""The log of attempts: one row each, newest first, in pages."""

from datetime import timedelta
from typing import Any

import pytest

from novapulse.core.clock import rfc3339
from novapulse.core.ids import derived_id, new_id
from novapulse.webhooks.model import AnswerClass, Attempt, AttemptTimings
from novapulse.webhooks.planner import delivery_log
from novapulse.webhooks.store import ATTEMPTS
from tests.support.api import RECEIVER_URL, Api, Person


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    return await api.found_company()


@pytest.fixture
async def webhook_id(ada: Person) -> str:
    answer = await ada.post("/webhooks", {"url": RECEIVER_URL, "events": ["*"]})
    return str(answer.json()["id"])


def attempts(api: Api, webhook_id: str, count: int) -> list[Attempt]:
    """Of one delivery; every second one in the same millisecond as the one before."""
    event_id, start = new_id("evt"), api.runtime.clock()
    delivery_id = derived_id("dlv", event_id, webhook_id, "0")
    return [
        Attempt(
            id=derived_id("att", delivery_id, str(number)),
            delivery_id=delivery_id,
            event_id=event_id,
            event="task.created",
            webhook_id=webhook_id,
            attempt=number,
            result=AnswerClass.TRANSIENT,
            status=500,
            error=None,
            peer_ip="93.184.215.14",
            timings=AttemptTimings(0.5, 1.25, 0.0, 3.0, 4.75),
            headers={"content-type": "text/plain", "retry-after": "5"},
            body="né\0",
            truncated=False,
            created_at=start + timedelta(milliseconds=number // 2),
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
    (made,) = attempts(api, webhook_id, 1)
    await delivery_log(api.runtime).add_attempts([(str(ada.company_id), made)])
    (shown,) = (await ada.get(f"/webhooks/{webhook_id}/logs")).json()["data"]
    assert shown == {
        "id": made.id,
        "deliveryId": made.delivery_id,
        "eventId": made.event_id,
        "event": "task.created",
        "webhookId": webhook_id,
        "attempt": 1,
        "class": "transient",
        "status": 500,
        "error": None,
        "peerIp": "93.184.215.14",
        "timings": {
            "dnsMs": 0.5,
            "connectMs": 1.25,
            "tlsMs": 0.0,
            "firstByteMs": 3.0,
            "totalMs": 4.75,
        },
        "headers": {"content-type": "text/plain", "retry-after": "5"},
        "body": "né\0",
        "truncated": False,
        "createdAt": rfc3339(made.created_at),
    }


@pytest.mark.parametrize("limit", [1, 4, 5, 200])
async def test_walking_the_log_meets_every_attempt_once(
    api: Api, ada: Person, webhook_id: str, limit: int
) -> None:
    made = attempts(api, webhook_id, 15)
    await delivery_log(api.runtime).add_attempts([(str(ada.company_id), one) for one in made])
    found = await walk(ada, f"/webhooks/{webhook_id}/logs", limit)
    assert sorted(one["attempt"] for one in found) == list(range(1, 16))
    order = [(one["createdAt"], one["id"]) for one in found]
    assert order == sorted(order, reverse=True)


async def test_an_attempt_that_is_written_twice_is_one_row(
    api: Api, ada: Person, webhook_id: str
) -> None:
    made = [(str(ada.company_id), one) for one in attempts(api, webhook_id, 4)]
    for batch in (made[:2], made, made):
        await delivery_log(api.runtime).add_attempts(batch)
    assert len(await walk(ada, f"/webhooks/{webhook_id}/logs", 50)) == 4


async def test_attempts_of_other_webhooks_are_not_shown(
    api: Api, ada: Person, webhook_id: str
) -> None:
    other = await ada.post("/webhooks", {"url": RECEIVER_URL, "events": ["*"]})
    mine, theirs = attempts(api, webhook_id, 1), attempts(api, other.json()["id"], 1)
    company = str(ada.company_id)
    await delivery_log(api.runtime).add_attempts([(company, one) for one in mine + theirs])
    found = await walk(ada, f"/webhooks/{webhook_id}/logs", 50)
    assert [one["id"] for one in found] == [mine[0].id]


async def test_rows_go_away_after_their_time(api: Api, ada: Person, webhook_id: str) -> None:
    (made,) = attempts(api, webhook_id, 1)
    await delivery_log(api.runtime).add_attempts([(str(ada.company_id), made)])
    (row,) = await api.rows(ATTEMPTS, _id=made.id)
    days = api.runtime.settings.webhooks.attempt_keep_days
    assert row["expiresAt"] - row["createdAt"] == timedelta(days=days)


async def test_the_log_of_a_webhook_is_read_by_an_index(api: Api, ada: Person) -> None:
    rows = api.runtime.db.raw[ATTEMPTS]
    where = {"companyId": ada.company_id, "webhookId": "0" * 24}
    plan = await rows.find(where).sort([("createdAt", -1), ("_id", -1)]).explain()
    assert "IXSCAN" in repr(plan["queryPlanner"]["winningPlan"])
    assert "SORT'" not in repr(plan["queryPlanner"]["winningPlan"])


@pytest.mark.parametrize("query", ["limit=0", "cursor=x", "event=task.created&event=x", "x=1"])
async def test_a_strange_query_is_unacceptable(ada: Person, webhook_id: str, query: str) -> None:
    assert (await ada.get(f"/webhooks/{webhook_id}/logs?{query}")).status == 422
