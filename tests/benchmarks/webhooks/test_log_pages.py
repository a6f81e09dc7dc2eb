"""A page of the log of attempts among 1,000,000 rows: what each filter costs; the aim is 50 ms.

Half of the rows are of the webhook that is asked about. `ROWS=100000` makes it shorter.
"""

import os
import random
import statistics
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from novapulse.core.clock import rfc3339
from novapulse.core.documents import new_object_id
from novapulse.core.ids import new_id
from novapulse.core.mongo import Document
from novapulse.deliveries.store import ATTEMPTS
from tests.support.api import RECEIVER_URL, Api, Person, open_api
from tests.support.appliance import note
from tests.support.attempts import attempt_row
from tests.support.stores import RunningStores

ROWS = int(os.environ.get("ROWS", "1000000"))
BATCH = 10_000
PAGES = 21
EVENTS = ["task.created"] * 6 + ["task.updated"] * 3 + ["user.created"]
START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
async def api(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    async with open_api(stores, tmp_path_factory.mktemp("api")) as opened:
        yield opened


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    return await api.found_company()


@pytest.fixture(scope="module")
async def webhook_id(api: Api, ada: Person) -> str:
    """The webhook with half of the rows, once all are there."""
    answer = await ada.post("/webhooks", {"url": RECEIVER_URL, "events": ["*"]})
    webhook_id = str(answer.json()["id"])
    others = [new_object_id() for _ in range(20)]
    draw, began = random.Random(1), time.monotonic()
    rows = api.runtime.db.raw[ATTEMPTS]
    for first in range(0, ROWS, BATCH):
        batch = [
            row(str(ada.company_id), webhook_id if number % 2 else draw.choice(others), number)
            for number in range(first, min(first + BATCH, ROWS))
        ]
        await rows.insert_many(batch, ordered=False)
    note(f"{ROWS} attempts written in {time.monotonic() - began:.0f} s")
    return webhook_id


def row(company_id: str, webhook_id: str, number: int) -> Document:
    """Mostly fine, sometimes failing, hardly ever something rare."""
    draw = random.Random(number)
    result, status = "ok", 200
    if draw.random() < 0.1:
        result, status = draw.choice([("transient", 500), ("transient", 503), ("rejected", 404)])
    if draw.random() < 0.00002:
        result, status = "gone", 410
    return attempt_row(
        company_id,
        webhook_id,
        at=START + timedelta(seconds=number),
        event=draw.choice(EVENTS),
        eventId=new_id("evt"),
        status=status,
        body="x" * 100,
        **{"class": result},
    )


FILTERS = [
    *("", "class=ok", "class=transient", "class=gone", "status=200", "status=404", "status=410"),
    *("event=user.created", "event=user.created&class=rejected", "status=503&class=transient"),
    *("eventId={event}", "from={early}", "from={early}&to={later}", "class=transient&to={early}"),
    "cursor={cursor}",
    "class=transient&cursor={cursor}",
]


async def test_a_page_of_the_log_takes_at_most_50_ms(api: Api, ada: Person, webhook_id: str):
    half = await ada.get(f"/webhooks/{webhook_id}/logs?limit=1&to={rfc3339(START + span(0.5))}")
    names = {
        "event": half.json()["data"][0]["eventId"],
        "cursor": half.json()["page"]["nextCursor"],
        "early": rfc3339(START + span(0.1)),
        "later": rfc3339(START + span(0.2)),
    }
    for filters in FILTERS:
        path = f"/webhooks/{webhook_id}/logs?limit=50&{filters.format(**names)}".rstrip("&")
        took = []
        for _ in range(PAGES):
            began = time.perf_counter()
            answer = await ada.get(path)
            took.append((time.perf_counter() - began) * 1_000)
            assert answer.status == 200, answer.body
        found, median = len(answer.json()["data"]), statistics.median(took)
        note(f"{filters or 'no filter':<36} {found:>3} rows {median:6.1f} ms, first {took[0]:6.1f}")


def span(part: float) -> timedelta:
    return timedelta(seconds=ROWS * part)
