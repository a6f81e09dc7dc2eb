"""Rate limits: exactly so many pass, whatever a client says of itself."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from redis import Redis

from novapulse.core import ratelimit
from novapulse.core.settings.rates import Rate
from novapulse.core.settings.sections import RateLimits, Server
from novapulse.core.telemetry import metrics
from tests.support.api import PASSWORD, Answer, Api, Client, open_api
from tests.support.stores import RunningStores

# Hours, so that no window turns while a test looks.
GENERAL, LOGIN, REGISTER = Rate(30, 3600), Rate(5, 3600), Rate(4, 3600)
LIMITS = RateLimits(enabled=True, general=GENERAL, login=LOGIN, register=REGISTER)
PROXY = "10.0.0.1"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def limited(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    directory = tmp_path_factory.mktemp("limited")
    async with open_api(stores, directory, label="limited", rate_limits=LIMITS) as api:
        yield api


@pytest.fixture(scope="module")
async def behind_proxy(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    directory = tmp_path_factory.mktemp("proxied")
    server = Server(trusted_proxies=(f"{PROXY}/32",))
    async with open_api(
        stores, directory, label="proxied", rate_limits=LIMITS, server=server
    ) as api:
        yield api


def newcomer(api: Api, **headers: str) -> Client:
    """Somebody at an address that nobody had before."""
    number = next(_numbers)
    return api.client(peer=f"198.18.{number // 250}.{number % 250}", **headers)


async def ask(client: Client, times: int, path: str = "/openapi.json") -> list[Answer]:
    return list(await asyncio.gather(*(client.get(path) for _ in range(times))))


def passed(answers: list[Answer]) -> int:
    assert {answer.status for answer in answers} <= {200, 401, 429}
    return sum(answer.status != 429 for answer in answers)


async def test_of_many_at_once_exactly_the_limit_passes(limited: Api) -> None:
    before = metrics.ratelimit_fail_open_total._value.get()
    assert passed(await ask(newcomer(limited), 90)) == GENERAL.limit
    assert metrics.ratelimit_fail_open_total._value.get() == before


async def test_a_burst_of_requests_does_not_open_the_limit(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # More at once than a pool of connections may hold: that is no reason to let all through.
    directory = tmp_path_factory.mktemp("burst")
    async with open_api(stores, directory, label="burst", rate_limits=LIMITS) as api:
        before = metrics.ratelimit_fail_open_total._value.get()
        assert passed(await ask(newcomer(api), 400)) == GENERAL.limit
        assert metrics.ratelimit_fail_open_total._value.get() == before
        assert not api.runtime.cache.breaker.is_open


async def test_one_after_the_other_the_headers_count_down(limited: Api) -> None:
    client = newcomer(limited)
    for left in range(GENERAL.limit - 1, -1, -1):
        answer = await client.get("/openapi.json")
        assert answer.status == 200
        assert answer.headers["ratelimit"].startswith(f'"default";r={left};t=')
        assert answer.headers["ratelimit-policy"] == f'"default";q={GENERAL.limit};w=3600'
    refused = await client.get("/openapi.json")
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert refused.headers["ratelimit"].startswith('"default";r=0;t=')
    assert 0 < int(refused.headers["retry-after"]) == refused.json()["retryAfter"]


async def test_the_limit_is_of_the_group_of_the_route(limited: Api) -> None:
    client = newcomer(limited)
    bad = {"email": "nobody@example.com", "password": PASSWORD}
    logins = [(await client.post("/auth/login", bad)).status for _ in range(8)]
    assert logins == [401] * 5 + [429] * 3
    registers = [(await client.post("/auth/register", {})).status for _ in range(6)]
    assert registers == [422] * 4 + [429] * 2
    assert (await client.get("/openapi.json")).status == 200


async def test_the_limit_is_of_the_client(limited: Api) -> None:
    first, second = newcomer(limited), newcomer(limited)
    await ask(first, GENERAL.limit + 1)
    assert passed(await ask(second, 3)) == 3


async def test_companies_at_one_address_do_not_share_a_limit(limited: Api) -> None:
    ada, eve = await limited.found_company(), await limited.found_company()
    assert passed(await ask(ada, GENERAL.limit + 5, "/auth/me")) == GENERAL.limit
    assert passed(await ask(eve, 3, "/auth/me")) == 3


async def test_an_ipv6_client_is_limited_with_its_whole_network(limited: Api) -> None:
    number = next(_numbers)
    for host in range(GENERAL.limit):
        client = limited.client(peer=f"2001:db8:{number}:1::{host:x}")
        assert (await client.get("/openapi.json")).status == 200
    other = limited.client(peer=f"2001:db8:{number}:1:ffff::1")
    assert (await other.get("/openapi.json")).status == 429
    neighbour = limited.client(peer=f"2001:db8:{number}:2::1")
    assert (await neighbour.get("/openapi.json")).status == 200


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip", "client-ip"])
async def test_a_made_up_address_changes_nothing(limited: Api, header: str) -> None:
    client = newcomer(limited)
    answers = [
        await client.get("/openapi.json", headers={header: f"203.0.113.{number}"})
        for number in range(GENERAL.limit + 5)
    ]
    assert passed(answers) == GENERAL.limit


async def test_behind_a_proxy_each_client_has_its_own_limit(behind_proxy: Api) -> None:
    first, second = (
        behind_proxy.client(peer=PROXY, **{"x-forwarded-for": address})
        for address in ("203.0.113.1", "203.0.113.2")
    )
    assert passed(await ask(first, GENERAL.limit + 5)) == GENERAL.limit
    assert passed(await ask(second, 3)) == 3


async def test_behind_a_proxy_a_made_up_address_changes_nothing(behind_proxy: Api) -> None:
    answers = []
    for number in range(GENERAL.limit + 5):
        seen = f"203.0.113.{number}, 203.0.113.77"  # the proxy added the last one
        client = behind_proxy.client(peer=PROXY, **{"x-forwarded-for": seen})
        answers.append(await client.get("/openapi.json"))
    assert passed(answers) == GENERAL.limit


async def test_who_guesses_tokens_is_limited_as_well(limited: Api) -> None:
    client = newcomer(limited, authorization="Bearer a.guessed.token")
    answers = await ask(client, GENERAL.limit + 5, "/auth/me")
    assert passed(answers) == GENERAL.limit


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
async def test_probes_are_not_counted(limited: Api, path: str) -> None:
    answers = await ask(newcomer(limited), GENERAL.limit + 5, path)
    assert {answer.status for answer in answers} == {200}
    assert all("ratelimit" not in answer.headers for answer in answers)


async def test_refused_requests_do_not_push_the_limit_further(limited: Api) -> None:
    rate, key = Rate(3, 3600), f"throttle:test:{next(_numbers)}:x"
    for _ in range(50):
        await ratelimit.check(limited.runtime.cache, key, rate)
    with Redis.from_url(limited.loaded.settings.redis.url) as redis:
        assert redis.hget(key, "c") == b"3"


async def test_counters_go_away_by_themselves(limited: Api) -> None:
    await ask(newcomer(limited), 1)
    with Redis.from_url(limited.loaded.settings.redis.url) as redis:
        keys = list(redis.scan_iter("throttle:*"))
        assert keys
        for key in keys:
            assert 0 < redis.pttl(key) <= 2 * 3600 * 1000, key
            assert key.count(b":") >= 3


async def test_who_waits_as_long_as_told_is_let_in(limited: Api) -> None:
    rate, key = Rate(1, 1), f"throttle:test:{next(_numbers)}:x"

    async def check() -> ratelimit.Verdict:
        verdict = await ratelimit.check(limited.runtime.cache, key, rate)
        assert verdict is not None
        return verdict

    assert (await check()).is_allowed
    refused = await check()
    assert not refused.is_allowed
    await asyncio.sleep(refused.reset_seconds)
    assert (await check()).is_allowed


async def test_without_redis_requests_pass_and_are_counted(
    private_stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("outage")
    async with open_api(private_stores, directory, rate_limits=LIMITS) as api:
        client = newcomer(api)
        private_stores.redis.kill()
        before = metrics.ratelimit_fail_open_total._value.get()
        answers = await ask(client, GENERAL.limit + 5)
        assert {answer.status for answer in answers} == {200}
        assert metrics.ratelimit_fail_open_total._value.get() == before + len(answers)
        bad = {"email": "nobody@example.com", "password": PASSWORD}
        logins = [(await client.post("/auth/login", bad)).status for _ in range(20)]
        assert 429 in logins, "signing in falls back to a limit of this process"
