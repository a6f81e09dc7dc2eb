"""Guessing gets slow, per account and per address, and tells nothing about who exists."""

import asyncio
import statistics
import time
from collections import Counter
from datetime import timedelta

import pytest

from novapulse.core.settings.rates import Rate
from novapulse.core.settings.sections import RateLimits
from novapulse.identity.attempts import AttemptStore
from tests.support.api import PASSWORD, Answer, Api, open_api
from tests.support.signin import Browser, MovingClock
from tests.support.stores import RunningStores

WRONG = "a wrong password"


async def login(api: Api, email: str, password: str = PASSWORD) -> Answer:
    return await Browser(api).login(email, password)


def without_id(answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    return answer.status, answer.anonymous_body(), {**answer.headers, "x-request-id": ""}


async def test_after_five_failures_not_even_the_right_password_counts_for_a_while(
    api: Api, clock: MovingClock
) -> None:
    ada = await api.found_company()
    for _ in range(5):
        assert (await login(api, ada.email, WRONG)).status == 401
    assert (await login(api, ada.email)).status == 401
    clock.advance(seconds=3)
    assert (await login(api, ada.email)).status == 200


async def test_four_failures_delay_nobody_and_a_success_forgets_them(api: Api) -> None:
    ada = await api.found_company()
    for _ in range(3):
        for _ in range(4):
            await login(api, ada.email, WRONG)
        assert (await login(api, ada.email)).status == 200


async def test_each_further_failure_doubles_the_delay_up_to_a_quarter_of_an_hour(
    api: Api, clock: MovingClock
) -> None:
    attempts, key = AttemptStore(api.runtime.db), "test:doubling"
    delays = []
    for _ in range(16):
        now = clock()
        assert not await attempts.settle(key, now, succeeded=False)
        (row,) = await api.rows("attempts", _id=key)
        delays.append((row["delayedUntil"] - now) if "delayedUntil" in row else timedelta())
        clock.advance(seconds=901)
    seconds = [round(delay.total_seconds()) for delay in delays]
    assert seconds == [0, 0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


async def test_attempts_during_a_delay_do_not_prolong_it(api: Api, clock: MovingClock) -> None:
    ada = await api.found_company()
    for _ in range(5):
        await login(api, ada.email, WRONG)
    for _ in range(20):
        await login(api, ada.email, WRONG)
    clock.advance(seconds=3)
    assert (await login(api, ada.email)).status == 200


async def test_a_burst_of_guesses_gets_no_more_tries_than_one_after_the_other(api: Api) -> None:
    ada = await api.found_company()
    guesses = [login(api, ada.email, f"guess number {number}") for number in range(40)]
    answers = await asyncio.gather(*guesses)
    assert {answer.status for answer in answers} == {401}
    (row,) = [one for one in await api.rows("attempts") if one["failures"] == 5]
    assert "delayedUntil" in row


async def test_many_right_passwords_at_once_are_all_right(api: Api) -> None:
    ada = await api.found_company()
    answers = await asyncio.gather(*(login(api, ada.email) for _ in range(20)))
    assert Counter(answer.status for answer in answers) == {200: 20}


async def test_unknown_wrong_disabled_and_delayed_look_the_same(api: Api) -> None:
    ada, off, late = [await api.found_company() for _ in range(3)]
    users = api.runtime.db.platform("users")
    await users.update_one({"_id": off.id}, {"$set": {"status": "disabled"}})
    for _ in range(5):
        await login(api, late.email, WRONG)
    suspended = await api.found_company()
    companies = api.runtime.db.platform("companies")
    await companies.update_one({"_id": suspended.company_id}, {"$set": {"status": "suspended"}})
    answers = [
        await login(api, "nobody@example.com"),
        await login(api, ada.email, WRONG),
        await login(api, off.email),
        await login(api, off.email, WRONG),
        await login(api, late.email),
        await login(api, suspended.email),
    ]
    first = without_id(answers[0])
    assert all(without_id(answer) == first for answer in answers)
    assert first[0] == 401


async def test_unknown_and_known_take_the_same_time(api: Api, clock: MovingClock) -> None:
    ada = await api.found_company()
    rows = api.runtime.db.platform("attempts")

    async def seconds(email: str) -> float:
        started = time.perf_counter()
        await login(api, email, WRONG)
        return time.perf_counter() - started

    known, unknown = [], []
    for _ in range(15):
        await rows.delete_many({})
        known.append(await seconds(ada.email))
        unknown.append(await seconds("nobody@example.com"))
    ratio = statistics.median(known) / statistics.median(unknown)
    assert 0.6 < ratio < 1.6, "a hash more or less would be a factor of two and more"


async def test_a_stolen_session_does_not_help_guessing_the_password(
    api: Api, clock: MovingClock
) -> None:
    ada = await api.found_company()
    for _ in range(5):
        answer = await ada.post("/auth/step-up", {"password": WRONG})
        assert (answer.status, answer.code) == (401, "bad_credentials")
    assert (await ada.post("/auth/step-up", {"password": PASSWORD})).status == 401
    clock.advance(seconds=3)
    assert (await ada.post("/auth/step-up", {"password": PASSWORD})).status == 204


async def test_without_redis_guessing_stays_limited_and_everything_else_goes_on(
    private_stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> None:
    limits = RateLimits(login=Rate(5, 3600), register=Rate(5, 3600))
    directory = tmp_path_factory.mktemp("noredis")
    async with open_api(private_stores, directory, label="noredis", rate_limits=limits) as api:
        ada = await api.found_company()
        private_stores.redis.stop()
        answers = [await login(api, ada.email) for _ in range(7)]
        assert [answer.status for answer in answers] == [200] * 5 + [429] * 2
        assert answers[-1].code == "rate_limited"
        assert int(answers[-1].headers["retry-after"]) > 0
        assert (await ada.get("/auth/me")).status == 200
        elsewhere = api.client(peer="192.0.2.77")
        data = {"email": ada.email, "password": PASSWORD}
        assert (await elsewhere.post("/auth/login", data)).status == 200
