"""Rotating keys while everybody works: every secret opens at every moment, also after a kill."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from novapulse.core import crypto
from novapulse.core.crypto import read_key_file
from novapulse.core.errors import AlreadyRunning, ConfigurationInvalid, TransientConflict
from novapulse.core.mongo import Rows
from novapulse.core.secretfiles import hold
from novapulse.ops import keys
from novapulse.ops.keys import Pace
from novapulse.processes import places
from tests.support.api import PASSWORD, RECEIVER_URL, Api, Person
from tests.support.audit import seal, walk
from tests.support.engine import until
from tests.support.keys import (
    Secrets,
    another_process,
    check,
    find_traces,
    in_process,
    key_file,
    operator,
    rotate,
)


def current_key(api: Api) -> str:
    return read_key_file(key_file(api)).current


async def assert_everything_opens(api: Api) -> None:
    """With the keys in the file alone."""
    assert [(one.collection, one.bad) for one in await check(api) if one.bad] == []


async def test_everything_is_of_the_new_key_and_opens(api: Api, secrets: Secrets) -> None:
    old = current_key(api)
    assert await find_traces(api, old) == [
        *("audit_heads", "factors", "idempotency", "jobs", "webhooks")
    ]
    done = await rotate(api)
    assert (done.retired, done.left, done.renewed >= 6) == ((old,), [], True)
    assert set(read_key_file(key_file(api)).keys) == {done.current} != {old}
    traces = await find_traces(api, old)
    assert traces == ["idempotency"]  # the fingerprints, which are not opened
    assert all("body" not in row or old not in row["body"] for row in await api.rows("idempotency"))
    await assert_everything_opens(api)
    for process in (api, None):  # one that ran all the time, and a fresh one
        if process is not None:
            await secrets.assert_all_open(process)
            continue
        async with another_process(api) as fresh:
            await secrets.assert_all_open(fresh)
            await secrets.assert_pending_opens(fresh)


async def test_a_rotation_is_a_line_of_the_log(api: Api, secrets: Secrets) -> None:
    done = await rotate(api)
    (row,) = await api.rows("events", type="key.rotated")
    assert (row["companyId"], row["actor"]["via"]) == ("platform", "cli")
    assert row["data"] == {"key": {"id": done.current, "purpose": "data"}}


async def test_the_old_key_may_be_kept(api: Api, secrets: Secrets) -> None:
    old = current_key(api)
    done = await rotate(api, keep_old=True)
    assert done.retired == ()
    assert set(read_key_file(key_file(api)).keys) == {old, done.current}
    again = await rotate(api)
    assert set(again.retired) == {old, done.current}
    await secrets.assert_all_open(api)


async def test_a_key_that_something_needs_stays(api: Api, secrets: Secrets) -> None:
    old = current_key(api)
    webhooks = api.runtime.db.raw["webhooks"]
    (row,) = await api.rows("webhooks")
    good = row["secrets"][0]["sealed"]
    await webhooks.update_one({}, {"$set": {"secrets.0.sealed": f"{old}.AAAA"}})
    done = await rotate(api)
    assert [(bad.id, bad.path) for bad in done.left] == [(row["_id"], "secrets.0.sealed")]
    assert done.retired == ()
    assert set(read_key_file(key_file(api)).keys) == {old, done.current}
    await webhooks.update_one({}, {"$set": {"secrets.0.sealed": good}})
    again = await rotate(api)
    assert (again.current, again.left, again.retired) == (done.current, [], (old,))
    await secrets.assert_all_open(api)


async def test_only_one_rotates(api: Api, secrets: Secrets) -> None:
    with hold(key_file(api).parent), pytest.raises(AlreadyRunning):
        await rotate(api)


async def test_a_file_that_can_not_be_written_changes_nothing(api: Api, secrets: Secrets) -> None:
    before = key_file(api).read_bytes()
    key_file(api).chmod(0o644)
    with pytest.raises(ConfigurationInvalid):
        await rotate(api)
    key_file(api).chmod(0o600)
    assert key_file(api).read_bytes() == before
    await secrets.assert_all_open(api)


# Killed half-way


class Killed(Exception):
    """Stands for the end of the process at this point."""


@asynccontextmanager
async def killed_at(step: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    count = 0

    async def bulk(self: Rows, requests: Any) -> int:
        nonlocal count
        count += 1
        if count == int(step.removeprefix("write ")):
            raise Killed
        return await original(self, requests)

    def die(*_: Any, **__: Any) -> Any:
        raise Killed

    original = Rows.bulk
    with monkeypatch.context() as patch:
        if step.startswith("write"):
            patch.setattr(Rows, "bulk", bulk)
        elif step == "before the end":
            patch.setattr(crypto, "end_rotation", die)
        else:
            patch.setattr(keys, "_seal_anew", die)
        with pytest.raises(Killed):
            yield


STEPS = ["after the new key", *(f"write {number}" for number in range(1, 6)), "before the end"]


@pytest.mark.parametrize("step", STEPS)
async def test_killed_anywhere_everything_opens_and_the_next_one_ends_it(
    api: Api, secrets: Secrets, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = current_key(api)
    async with killed_at(step, monkeypatch):
        await rotate(api)
    begun = current_key(api)
    assert set(read_key_file(key_file(api)).keys) == {old, begun}
    await assert_everything_opens(api)
    await secrets.assert_all_open(api)
    done = await rotate(api)
    assert (done.current, done.retired) == (begun, (old,))
    await assert_everything_opens(api)
    async with another_process(api) as fresh:
        await secrets.assert_all_open(fresh)


async def test_killed_again_and_again_it_comes_to_an_end(
    api: Api, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = current_key(api)
    for step in STEPS[:4]:
        async with killed_at(step, monkeypatch):
            await rotate(api)
    done = await rotate(api)
    assert set(read_key_file(key_file(api)).keys) == {done.current} != {old}
    await secrets.assert_all_open(api)


# Under load


async def write_all_the_time(person: Person, api: Api, stop: asyncio.Event) -> list[dict[str, Any]]:
    """Seal in every way there is; what was made, with how to ask for it again."""
    made: list[dict[str, Any]] = []
    number = 0
    while not stop.is_set():
        number += 1
        once = {"idempotency-key": f"{id(api)}-{number}"}
        email = f"{id(api)}-{number}@example.com"
        body = {"email": email, "role": "user"}
        answer = await person.post("/invites", body, headers=once)
        assert answer.status == 201, answer.body
        again = await person.post("/invites", body, headers=once)
        assert (again.status, again.body) == (201, answer.body)
        made.append({"body": body, "headers": once, "answer": answer.body})
        if number % 4 == 0:
            hook = {"url": RECEIVER_URL, "events": ["company.updated"]}
            answer = await person.post("/webhooks", hook, headers={"idempotency-key": f"h{email}"})
            assert answer.status == 201, answer.body
            setup = await person.post("/auth/mfa/setup", {"password": PASSWORD})
            # The other writers change the same account: on a busy machine one has to try again.
            assert setup.status in (200, 503), setup.body
            with suppress(TransientConflict):  # the others seal as well
                await seal(api)
    return made


async def test_nothing_is_lost_while_everybody_seals(api: Api, secrets: Secrets) -> None:
    old, ada = current_key(api), secrets.ada
    stop = asyncio.Event()
    async with another_process(api) as second, another_process(api) as third:
        processes = (api, second, third)
        writers = [
            asyncio.create_task(write_all_the_time(in_process(ada, one), one, stop))
            for one in processes
        ]
        await until(
            lambda: any(writer.done() for writer in writers) or _invites(api, 10), what="load"
        )
        done = await rotate(api, pace=Pace(notice_seconds=3.0, settle_seconds=5.0))
        stop.set()
        made = [one for found in await asyncio.gather(*writers) for one in found]
        assert (done.left, done.retired) == ([], (old,))
        assert await find_traces(api, old) in ([], ["idempotency"])
        await assert_everything_opens(api)
        assert len(made) > 30
        for one in made[:: max(1, len(made) // 40)]:
            for process in processes:
                person = in_process(ada, process)
                again = await person.post("/invites", one["body"], headers=one["headers"])
                assert (again.status, again.body) == (201, one["answer"])
    await seal(api)
    assert (await walk(api, ada.company_id)).finding is None


async def _invites(api: Api, number: int) -> bool:
    return len(await api.rows("invites")) >= number


# Access tokens


async def test_rotating_the_tokens_keys_signs_nobody_out(api: Api, secrets: Secrets) -> None:
    ada = secrets.ada
    path = places.token_key_file(api.loaded)
    before = json.loads(path.read_bytes())["current"]
    async with another_process(api) as second:
        async with another_process(api) as cli:
            current = await keys.rotate_jwt(operator(cli), path)
        assert current != before
        bob = await second.add_member(str(ada.company_id))
        for process in (api, second):
            assert (await in_process(ada, process).get("/auth/me")).status == 200
            assert (await in_process(bob, process).get("/auth/me")).status == 200
    async with another_process(api) as fresh:
        signed = await fresh.sign_in(bob.email)
        for person in (ada, bob, signed):
            assert (await in_process(person, fresh).get("/auth/me")).status == 200
        assert (await in_process(signed, api).get("/auth/me")).status == 200
    (row,) = await api.rows("events", type="key.rotated")
    assert row["data"] == {"key": {"id": current, "purpose": "jwt"}}


async def test_a_key_from_the_environment_is_not_ours_to_rotate(api: Api) -> None:
    path = places.token_key_file(api.loaded)
    before = path.read_bytes()
    with pytest.raises(ConfigurationInvalid) as caught:
        await keys.rotate_jwt(operator(api), path, is_given=True)
    assert caught.value.where == "JWT_ACCESS_SECRET"
    assert path.read_bytes() == before
