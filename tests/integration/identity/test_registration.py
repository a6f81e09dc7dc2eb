"""Founding companies: the first one with the setup token, others as the settings say."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from novapulse.core.settings.sections import Registration
from tests.support.api import PASSWORD, Answer, Api, open_api
from tests.support.stores import RunningStores


@pytest.fixture(scope="module", params=["closed", "open"])
async def installation(
    stores: RunningStores,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Api]:
    """An installation with either mode of registration."""
    directory = tmp_path_factory.mktemp("setup")
    mode = Registration(mode=request.param)
    async with open_api(stores, directory, label="setup", registration=mode) as api:
        yield api


@pytest.fixture
async def fresh(installation: Api) -> Api:
    """As nobody has set it up yet."""
    for collection in await installation.collections():
        await installation.runtime.db.platform(collection).delete_many({})
    installation.offer_setup_token()
    return installation


def is_open(api: Api) -> bool:
    return api.loaded.settings.registration.mode == "open"


async def register(api: Api, **changes: Any) -> Answer:
    command = {
        "companyName": "Acme",
        "name": "Ada",
        "email": "ada@example.com",
        "password": PASSWORD,
        "setupToken": api.offer_setup_token() if api.setup_token_file.exists() else None,
        **changes,
    }
    return await api.client().post("/auth/register", command)


async def register_at_last(api: Api, **changes: Any) -> Answer:
    """Again for as long as the database has too much at once, which is said as 503."""
    for _ in range(20):
        if (answer := await register(api, **changes)).status != 503:
            break
    return answer


async def test_the_first_company_is_founded_with_the_setup_token(fresh: Api) -> None:
    answer = await register(fresh)
    assert answer.status == 201
    told = answer.json()
    assert told["company"]["name"] == "Acme"
    assert (told["user"]["email"], told["user"]["role"]) == ("ada@example.com", "company_admin")
    assert told["expiresIn"] == 900
    assert "password" not in answer.body.decode().lower()
    bearer = {"authorization": f"Bearer {told['accessToken']}"}
    assert (await fresh.client(**bearer).get("/auth/me")).json()["id"] == told["user"]["id"]


@pytest.mark.parametrize("token", [None, "", "wrong", "x" * 10_000, "ünï"])
async def test_without_the_token_nobody_is_first(fresh: Api, token: str | None) -> None:
    answer = await register(fresh, setupToken=token)
    assert (answer.status, answer.code) == (403, "setup_token")
    assert await fresh.rows("companies") == await fresh.rows("users") == []
    assert fresh.setup_token_file.exists()


async def test_without_a_token_file_nobody_is_first(fresh: Api) -> None:
    fresh.setup_token_file.unlink()
    answer = await register(fresh, setupToken="")
    assert (answer.status, answer.code) == (403, "setup_token")


async def test_the_token_is_used_up(fresh: Api) -> None:
    assert (await register(fresh)).status == 201
    assert not fresh.setup_token_file.exists()


async def test_the_founding_is_an_event_of_the_new_company(fresh: Api) -> None:
    told = (await register(fresh)).json()
    (row,) = await fresh.rows("events", type="user.created")
    assert row["companyId"] == told["company"]["id"]
    assert row["actor"]["userId"] == row["resourceId"] == told["user"]["id"]
    assert PASSWORD not in repr(row)


async def test_passwords_are_stored_as_argon2id_only(fresh: Api) -> None:
    await register(fresh)
    (row,) = await fresh.rows("users")
    assert row["passwordHash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    for collection in await fresh.collections():
        assert PASSWORD not in repr(await fresh.rows(collection)), collection


async def test_the_second_company_depends_on_the_settings(fresh: Api) -> None:
    token = fresh.offer_setup_token()
    await register(fresh)
    answer = await register(fresh, email="eve@example.com", companyName="Evil", setupToken=token)
    if is_open(fresh):
        assert answer.status == 201
        assert len(await fresh.rows("companies")) == 2
    else:
        assert (answer.status, answer.code) == (403, "registration_closed")
        assert len(await fresh.rows("companies")) == len(await fresh.rows("users")) == 1


async def test_a_taken_address_is_a_conflict_however_it_is_written(fresh: Api) -> None:
    await register(fresh)
    answer = await register(fresh, email="ADA@Example.com", companyName="Other")
    taken = (409, "email_taken") if is_open(fresh) else (403, "registration_closed")
    assert (answer.status, answer.code) == taken
    assert len(await fresh.rows("companies")) == 1, "nothing of the refused founding stays"
    assert len(await fresh.rows("events", type="user.created")) == 1


async def test_of_many_foundings_with_one_token_exactly_one_is_the_first(fresh: Api) -> None:
    token = fresh.offer_setup_token()
    foundings = [
        register_at_last(fresh, email=f"ada{number}@example.com", setupToken=token)
        for number in range(10)
    ]
    answers = await asyncio.gather(*foundings)
    others = 201 if is_open(fresh) else 403
    assert sorted(answer.status for answer in answers) == [201] + [others] * 9
    assert len(await fresh.rows("setup")) == 1
    founded = 10 if is_open(fresh) else 1
    for collection in ("companies", "users"):
        assert len(await fresh.rows(collection)) == founded
    assert len(await fresh.rows("events", type="user.created")) == founded


async def test_of_many_foundings_with_one_address_exactly_one_wins(fresh: Api) -> None:
    token = fresh.offer_setup_token()
    answers = await asyncio.gather(*(register_at_last(fresh, setupToken=token) for _ in range(10)))
    others = 409 if is_open(fresh) else 403
    assert sorted(answer.status for answer in answers) == [201] + [others] * 9
    for collection in ("companies", "users"):
        assert len(await fresh.rows(collection)) == 1
    assert len(await fresh.rows("events", type="user.created")) == 1
