"""Webhooks that lead inside, in every spelling: the dispatcher connects to none of them.

Their URLs are written straight into the database, as if they had been accepted: the connect is
the authority, not the friendly message on creation.
"""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from novapulse.core.outbound import OutboundClient
from novapulse.core.settings import sections as keys
from novapulse.core.telemetry.metrics import registry
from novapulse.deliveries.store import ATTEMPTS
from novapulse.processes.runtime import outbound_client
from tests.support import loops
from tests.support.api import Api, open_api
from tests.support.dispatching import House
from tests.support.receivers import StubResolver, receiving
from tests.support.spellings import FORBIDDEN_TARGETS
from tests.support.stores import RunningStores

anyio_backend = loops.each_backend

# Not one that a spelling leads to.
CONTROL = "127.0.0.77"


@pytest.fixture
async def api(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """One address of the loopback is allowed, and no other."""
    webhooks = keys.Webhooks(allow_networks=(f"{CONTROL}/32",))
    async with open_api(stores, tmp_path_factory.mktemp("api"), webhooks=webhooks) as opened:
        yield opened


@contextlib.contextmanager
def everywhere() -> Iterator[socket.socket]:
    """A listener that any connect to this machine would reach, in either family."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    with socket.create_server(("", 0), family=family, dualstack_ipv6=dual) as canary:
        canary.setblocking(False)
        yield canary


def counted(result: str) -> float:
    found = registry.get_sample_value("novapulse_webhook_attempts_total", {"class": result})
    return found or 0.0


async def test_no_webhook_ever_reaches_inside_and_each_refusal_is_counted(api: Api) -> None:
    targets = [target for target in FORBIDDEN_TARGETS if "localhost" not in target]
    assert len(targets) >= 60
    house = House(api.runtime)
    async with receiving(host=CONTROL) as control:
        with everywhere() as canary:
            port = str(canary.getsockname()[1])
            forbidden = [await house.subscribe(url.replace("PORT", port)) for url in targets]
            allowed = await house.subscribe(control.url(CONTROL))
            blocked, ok = counted("blocked"), counted("ok")
            await house.emit()
            async with house.dispatching():
                await house.until_states({"discarded": len(targets), "delivered": 1})
            with pytest.raises(BlockingIOError):
                canary.accept()
    assert (counted("blocked") - blocked, counted("ok") - ok) == (len(targets), 1)
    rows = await api.rows(ATTEMPTS)
    assert {row["webhookId"]: row["class"] for row in rows} == {
        **dict.fromkeys(forbidden, "blocked"),
        allowed: "ok",
    }
    assert len(rows) == len(targets) + 1
    assert {row["peerIp"] for row in rows if row["class"] == "blocked"} == {None}
    assert len(control.requests) == 1


async def test_a_name_that_turns_inside_after_it_was_accepted_is_not_followed(api: Api) -> None:
    async with receiving() as canary:
        rebinding = StubResolver(["93.184.215.14"], ["127.0.0.1"])
        client = outbound_client(api.loaded)
        client._resolver = client._session.connector._resolver = rebinding
        former = api.runtime.feature(OutboundClient)
        api.runtime.add(client)
        ada = await api.found_company()
        given = {"url": canary.url("rebind.example.com"), "events": ["*"]}
        webhook = await ada.post("/webhooks", given)
        assert webhook.status == 201, webhook.body
        attempt = (await ada.post(f"/webhooks/{webhook.json()['id']}/test")).json()
        assert (attempt["class"], attempt["peerIp"]) == ("blocked", None)
        assert rebinding.asked == ["rebind.example.com"] * 2
        await former.aclose()
    assert canary.connections == 0


async def test_a_redirect_to_the_inside_is_not_followed(api: Api) -> None:
    ada = await api.found_company()
    async with receiving() as canary:
        moved = f"HTTP/1.1 307 Moved\r\nLocation: {canary.url()}\r\nContent-Length: 0\r\n\r\n"
        async with receiving(moved.encode(), host=CONTROL) as control:
            given = {"url": control.url(CONTROL), "events": ["*"]}
            webhook = (await ada.post("/webhooks", given)).json()
            attempt = (await ada.post(f"/webhooks/{webhook['id']}/test")).json()
    assert (attempt["class"], attempt["status"]) == ("redirect", 307)
    assert (len(control.requests), canary.connections) == (1, 0)
