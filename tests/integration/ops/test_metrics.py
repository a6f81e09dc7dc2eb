"""`/metrics`: who may scrape."""

from pathlib import Path

import pytest

from novapulse.core.access import Role
from tests.support.api import Api


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes would leave their numbers."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))


async def test_the_scraper_of_this_machine_needs_no_credentials(api: Api) -> None:
    answer = await api.client(peer="127.0.0.1").get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")


async def test_what_a_proxy_hands_on_needs_credentials(api: Api) -> None:
    for header in ("x-forwarded-for", "forwarded"):
        client = api.client(peer="127.0.0.1", **{header: "127.0.0.1"})
        assert (await client.get("/metrics")).status == 401


async def test_another_machine_needs_credentials(api: Api) -> None:
    assert (await api.client().get("/metrics")).status == 401
    assert (await api.client(authorization="Bearer x").get("/metrics")).status == 401


async def test_the_operator_may_scrape_from_everywhere(api: Api) -> None:
    operator = await api.add_operator()
    assert (await operator.get("/metrics")).status == 200


@pytest.mark.parametrize("role", [Role.COMPANY_ADMIN, Role.MANAGER, Role.USER])
async def test_nobody_else_may(api: Api, role: Role) -> None:
    founder = await api.found_company()
    member = await api.add_member(str(founder.company_id), role)
    answer = await member.get("/metrics")
    assert (answer.status, answer.code) == (403, "forbidden")
