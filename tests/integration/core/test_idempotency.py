"""`Idempotency-Key`: one change, one answer, however often it is sent."""

import asyncio
import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from novapulse.core.idempotency import COLLECTION, KEEP
from novapulse.core.settings import sections as keys
from novapulse.core.turnstile import Turnstile
from tests.support.api import PASSWORD, RECEIVER_URL, Answer, Api, Person, open_api
from tests.support.engine import until
from tests.support.receivers import OK, receiving
from tests.support.stores import RunningStores


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    return await api.found_company()


async def create(person: Person, key: str, title: str = "Paint", **headers: str) -> Answer:
    headers = {"idempotency-key": key, **headers}
    return await person.post("/tasks", {"title": title}, headers=headers)


def without_request_id(answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    return answer.status, answer.body, {**answer.headers, "x-request-id": ""}


async def titles(person: Person) -> list[str]:
    listed = (await person.get("/tasks?limit=200")).json()["data"]
    return [task["title"] for task in listed]


async def test_a_repeat_gets_the_first_answer_again(api: Api, ada: Person) -> None:
    first = await create(ada, "repeat", "repeated")
    assert (first.status, first.headers["etag"]) == (201, '"1"')
    for _ in range(3):
        assert without_request_id(await create(ada, "repeat", "repeated")) == without_request_id(
            first
        )
    assert (await titles(ada)).count("repeated") == 1
    assert len(await api.rows("events", resourceId=first.json()["id"])) == 1


async def test_a_repeat_shows_the_first_answer_even_after_a_change(ada: Person) -> None:
    first = await create(ada, "changed since")
    await ada.patch(f"/tasks/{first.json()['id']}", {"title": "other"})
    assert (await create(ada, "changed since")).body == first.body


async def test_another_body_under_the_same_key_is_a_conflict(ada: Person) -> None:
    await create(ada, "reused", "one")
    answer = await create(ada, "reused", "two")
    assert (answer.status, answer.code) == (409, "idempotency_key_reused")
    assert "two" not in await titles(ada)


async def test_twenty_at_once_with_one_key_are_one_task(api: Api, ada: Person) -> None:
    answers = await asyncio.gather(*(create(ada, "at once", "crowd") for _ in range(20)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert (await titles(ada)).count("crowd") == 1
    assert len(await api.rows("events", resourceId=answers[0].json()["id"])) == 1


async def test_at_once_with_other_bodies_one_wins_and_others_conflict(ada: Person) -> None:
    names = [f"rival {number}" for number in range(8)]
    answers = await asyncio.gather(*(create(ada, "rivals", name) for name in names))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    assert len(set(names) & set(await titles(ada))) == 1


async def test_an_error_is_not_remembered(ada: Person) -> None:
    key = {"idempotency-key": "second try"}
    wrong = {"title": "again", "assigneeId": "0" * 24}
    assert (await ada.post("/tasks", wrong, headers=key)).status == 422
    assert (await ada.post("/tasks", {"title": ""}, headers=key)).status == 422
    assert (await ada.post("/tasks", {"title": "again"}, headers=key)).status == 201


async def test_without_a_key_every_request_counts(ada: Person) -> None:
    made = [await ada.post("/tasks", {"title": "same"}) for _ in range(2)]
    assert made[0].json()["id"] != made[1].json()["id"]


async def test_keys_of_other_people_and_companies_never_meet(api: Api, ada: Person) -> None:
    bob, eve = await api.add_member(str(ada.company_id)), await api.found_company()
    answers = [await create(person, "shared") for person in (ada, bob, eve)]
    assert [answer.status for answer in answers] == [201] * 3
    assert len({answer.json()["id"] for answer in answers}) == 3


async def test_keys_of_other_routes_never_meet(ada: Person) -> None:
    key = {"idempotency-key": "two routes"}
    hook = {"url": RECEIVER_URL, "events": ["*"]}
    assert (await ada.post("/tasks", {"title": "x"}, headers=key)).status == 201
    assert (await ada.post("/webhooks", hook, headers=key)).status == 201


async def test_keys_of_other_things_on_one_route_never_meet(ada: Person) -> None:
    tasks = [(await create(ada, f"thing {number}")).json()["id"] for number in range(2)]
    said: dict[str, Any] = {"body": "the same"}
    key = {"idempotency-key": "two things"}
    for task in [*tasks, *tasks]:
        assert (await ada.post(f"/tasks/{task}/comments", said, headers=key)).status == 201
    for task in tasks:
        assert len((await ada.get(f"/tasks/{task}/comments")).json()["data"]) == 1


async def test_who_asks_somebody_else_holds_up_nobody_meanwhile(
    stores: RunningStores, tmp_path: Path
) -> None:
    may_answer = asyncio.Event()

    async def answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await may_answer.wait()
        writer.write(OK)
        await writer.drain()

    here = keys.Webhooks(allow_networks=("127.0.0.1/32",))
    async with (
        open_api(stores, tmp_path, label="late", webhooks=here) as api,
        receiving(answer_late) as receiver,
    ):
        ada = await api.found_company()
        hook = {"url": receiver.url(), "events": ["task.created"]}
        path = f"/webhooks/{(await ada.post('/webhooks', hook)).json()['id']}/test"
        api.runtime.add(Turnstile(1, wait_seconds=0.1))
        key = {"idempotency-key": "late"}
        asked = asyncio.create_task(ada.post(path, headers=key))
        await until(lambda: bool(receiver.requests), what="the request")
        assert (await create(ada, "meanwhile")).status == 201
        may_answer.set()
        first = await asked
        assert (first.status, first.json()["class"]) == (200, "ok")
        assert (await ada.post(path, headers=key)).body == first.body
        assert len(receiver.requests) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_has_a_length(ada: Person, key: str) -> None:
    answer = await create(ada, key)
    assert (answer.status, answer.paths) == (422, ["Idempotency-Key"])


@pytest.mark.parametrize(
    "key", ["x" * 255, " ", "../x", "$ne", '{"$gt":""}', "é".encode().decode("latin-1")]
)
async def test_any_key_within_it_will_do(ada: Person, key: str) -> None:
    first = await create(ada, key)
    assert first.status == 201
    assert (await create(ada, key)).body == first.body


async def test_a_change_does_not_listen_to_the_key(ada: Person) -> None:
    made = (await create(ada, "to be changed")).json()
    key = {"idempotency-key": "patch"}
    for title in ("one", "two"):
        answer = await ada.patch(f"/tasks/{made['id']}", {"title": title}, headers=key)
        assert answer.json()["title"] == title


async def test_answers_are_kept_for_a_day_and_then_removed(api: Api, ada: Person) -> None:
    assert timedelta(hours=24) == KEEP
    before = api.runtime.clock()
    await create(ada, "kept")
    expiries = [row["expiresAt"] for row in await api.rows(COLLECTION)]
    assert KEEP <= max(expiries) - before <= KEEP + timedelta(minutes=1)
    indexes = await api.runtime.db.raw[COLLECTION].index_information()
    assert indexes["expiry"]["expireAfterSeconds"] == 0


async def test_a_password_leaves_no_quick_hash_behind(api: Api) -> None:
    # Passwords are hashed slowly so that nobody who reads the database tries them all.
    ada = await api.found_company()
    body = json.dumps({"password": PASSWORD}).encode()
    headers = {"idempotency-key": "with a password", "content-type": "application/json"}
    assert (await ada.post("/auth/step-up", body=body, headers=headers)).status == 204
    quick = hashlib.sha256(body).hexdigest()
    for collection in await api.collections():
        assert quick not in repr(await api.rows(collection)), collection


async def test_a_secret_that_is_shown_once_is_not_kept_in_the_open(api: Api) -> None:
    ada = await api.found_company()
    hook: dict[str, Any] = {"url": RECEIVER_URL, "events": ["*"]}
    key = {"idempotency-key": "with a secret"}
    first = await ada.post("/webhooks", hook, headers=key)
    secret = first.json()["secret"]
    again = await ada.post("/webhooks", hook, headers=key)
    assert json.loads(again.body)["id"] == first.json()["id"]
    for collection in await api.collections():
        assert secret not in repr(await api.rows(collection)), collection
