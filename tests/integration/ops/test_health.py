"""`/health*`: who sees what, and what a probe is told."""

import asyncio
from collections.abc import Iterator

import pytest

from novapulse.core import health as checks
from novapulse.core.access import Role
from tests.support.api import Api, open_api
from tests.support.stores import RunningStores

DETAILS = {"status", "checks", "version", "uptimeSeconds"}


async def test_everybody_sees_the_status_alone(api: Api) -> None:
    answer = await api.client().get("/health")
    assert answer.status == 200
    assert set(answer.json()) == {"status"}
    assert answer.json()["status"] in ("ok", "degraded")


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.1.2.3", "::1"])
async def test_this_machine_sees_the_details(api: Api, peer: str) -> None:
    told = (await api.client(peer=peer).get("/health")).json()
    assert set(told) == DETAILS
    assert set(told["checks"]) == {"mongodb", "redis", "memory", "disk", "workers"}
    assert told["checks"]["mongodb"] == told["checks"]["redis"] == {"status": "ok"}
    assert told["checks"]["workers"]["status"] == "degraded", "no consumer runs here"
    assert told["status"] == "degraded"


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "X-Forwarded-For"])
@pytest.mark.parametrize("value", ["127.0.0.1", "203.0.113.1", "for=127.0.0.1", ""])
async def test_what_a_proxy_hands_on_is_not_this_machine(api: Api, header: str, value: str) -> None:
    client = api.client(peer="127.0.0.1", **{header: value})
    assert set((await client.get("/health")).json()) == {"status"}


@pytest.mark.parametrize("peer", ["192.0.2.1", "10.0.0.1", "0.0.0.0", None])
async def test_another_machine_sees_no_details(api: Api, peer: str | None) -> None:
    assert set((await api.client(peer=peer).get("/health")).json()) == {"status"}


async def test_the_operator_sees_the_details_from_everywhere(api: Api) -> None:
    operator = await api.add_operator()
    assert set((await operator.get("/health")).json()) == DETAILS


@pytest.mark.parametrize("role", [Role.COMPANY_ADMIN, Role.MANAGER, Role.USER])
async def test_nobody_else_does(api: Api, role: Role) -> None:
    founder = await api.found_company()
    member = await api.add_member(str(founder.company_id), role)
    assert set((await member.get("/health")).json()) == {"status"}


async def test_a_bad_token_is_a_stranger_and_no_error(api: Api) -> None:
    answer = await api.client(authorization="Bearer nonsense").get("/health")
    assert (answer.status, set(answer.json())) == (200, {"status"})


async def test_an_operator_that_names_no_such_company_is_told_the_health_all_the_same(
    api: Api,
) -> None:
    operator = await api.add_operator()
    answer = await operator.get("/health", headers={"x-novapulse-company": "0" * 24})
    assert answer.status == 200


async def test_live_and_ready_are_ok(api: Api) -> None:
    for path in ("/health/live", "/health/ready"):
        answer = await api.client().get(path)
        assert (answer.status, answer.json()) == (200, {"status": "ok"})


@pytest.fixture
def draining(api: Api) -> Iterator[Api]:
    api.health.is_draining = True
    yield api
    api.health.is_draining = False


async def test_a_draining_process_is_alive_but_not_ready(draining: Api) -> None:
    answer = await draining.client().get("/health/ready")
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert (await draining.client().get("/health/live")).status == 200
    assert (await draining.client().get("/health")).status == 200


def test_without_mongodb_it_is_down_without_anything_else_degraded() -> None:
    fine = {name: {"status": "ok"} for name in ("mongodb", "redis", "memory", "disk", "workers")}
    assert checks.overall(fine) == "ok"
    for name in ("redis", "memory", "disk", "workers"):
        assert checks.overall(fine | {name: {"status": "degraded"}}) == "degraded"
    assert checks.overall(fine | {"redis": {"status": "down"}}) == "degraded"
    assert checks.overall(fine | {"mongodb": {"status": "down"}}) == "down"


@pytest.fixture
async def lonely(
    private_stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Api, RunningStores]]:
    """An application whose stores a test may take away."""
    async with open_api(private_stores, tmp_path_factory.mktemp("lonely")) as api:
        yield api, private_stores


async def forget(api: Api) -> None:
    """Let the next question be asked anew: answers are kept for a second."""
    api.health._checked = 0.0


async def test_without_mongodb_it_is_down_and_says_so(lonely: tuple[Api, RunningStores]) -> None:
    api, stores = lonely
    operator = await api.add_operator()
    ada = await api.found_company()
    stores.mongod.kill()
    await forget(api)
    stranger = await api.client().get("/health")
    assert (stranger.status, stranger.json()) == (503, {"status": "down"})
    local = await api.client(peer="127.0.0.1").get("/health")
    assert local.status == 503
    assert local.json()["checks"]["mongodb"]["status"] == "down"
    assert (await api.client().get("/health/live")).status == 200
    assert (await api.client().get("/health/ready")).status == 503
    refused = await ada.post("/tasks", {"title": "x"})
    assert (refused.status, refused.code) == (503, "unavailable")
    assert int(refused.headers["retry-after"]) > 0
    # Whoever asks with credentials wants to know it now more than ever.
    asked = await operator.get("/health")
    assert (asked.status, asked.json()["status"]) == (503, "down")
    stores.mongod.start()
    async with asyncio.timeout(20):  # it still has to become the primary of its replica set
        while (await api.client().get("/health/ready")).status != 200:
            await forget(api)
            await asyncio.sleep(0.1)


async def test_without_redis_it_is_degraded_and_not_ready(
    lonely: tuple[Api, RunningStores],
) -> None:
    api, stores = lonely
    ada = await api.found_company()
    stores.redis.kill()
    await forget(api)
    local = await api.client(peer="127.0.0.1").get("/health")
    assert (local.status, local.json()["status"]) == (200, "degraded")
    assert local.json()["checks"]["redis"]["status"] == "down"
    assert (await api.client().get("/health/ready")).status == 503
    assert (await ada.post("/tasks", {"title": "x"})).status == 201
