"""`webhooks.egress_proxy`: attempts go through it, and its faults are not the receiver's."""

from pathlib import Path

from novapulse.core.settings import sections as keys
from tests.support import loops
from tests.support.api import RECEIVER_URL, open_api
from tests.support.receivers import receiving
from tests.support.stores import RunningStores

anyio_backend = loops.each_backend


async def test_attempts_go_through_the_proxy_of_the_settings(
    stores: RunningStores, tmp_path: Path
) -> None:
    async with receiving() as proxy:
        webhooks = keys.Webhooks(egress_proxy=f"http://127.0.0.1:{proxy.port}")
        async with open_api(stores, tmp_path, webhooks=webhooks) as api:
            ada = await api.found_company()
            given = {"url": "http://hooks.example.com/in", "events": ["*"]}
            named = (await ada.post("/webhooks", given)).json()
            attempt = (await ada.post(f"/webhooks/{named['id']}/test")).json()
            assert (attempt["class"], attempt["status"]) == ("ok", 200)
            inside = await ada.post("/webhooks", {**given, "url": "http://10.0.0.1/"})
            assert (inside.status, inside.paths) == (422, ["url"])
    (request,) = proxy.requests
    assert request.startswith(b"POST http://hooks.example.com/in HTTP/1.1\r\n")


async def test_a_proxy_that_is_away_is_our_own_fault(stores: RunningStores, tmp_path: Path) -> None:
    async with receiving() as gone:
        webhooks = keys.Webhooks(egress_proxy=f"http://127.0.0.1:{gone.port}")
    async with open_api(stores, tmp_path, webhooks=webhooks) as api:
        ada = await api.found_company()
        webhook = (await ada.post("/webhooks", {"url": RECEIVER_URL, "events": ["*"]})).json()
        attempt = (await ada.post(f"/webhooks/{webhook['id']}/test")).json()
    assert (attempt["class"], attempt["error"].partition(":")[0]) == ("infra", "proxy")
