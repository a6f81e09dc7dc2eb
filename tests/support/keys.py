"""An application of its own for each test, with something sealed in every place there is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from novapulse.core.access import SYSTEM
from novapulse.core.context import Context
from novapulse.core.outbound import OutboundClient
from novapulse.identity.service import Identity
from novapulse.ops import keys
from novapulse.ops.keys import Pace, Rotation, SealedValues
from novapulse.processes import places
from novapulse.processes.app import build_app
from novapulse.processes.features import ROUTES, SEALED
from novapulse.processes.runtime import add_identity, open_runtime, outbound_client
from novapulse.stores.layout import MongoRole
from novapulse.subscriptions import headers
from novapulse.subscriptions import secrets as signing_secrets
from novapulse.subscriptions.store import SubscriptionStore
from tests.support import signin as support
from tests.support.api import PASSWORD, RECEIVER_URL, Api, Person, open_api
from tests.support.audit import seal, walk
from tests.support.signin import App, MovingClock, answer_challenge, challenge, mails, set_up_mfa
from tests.support.stores import RunningStores

clock = support.clock
AT_ONCE = Pace(notice_seconds=0.0, settle_seconds=0.0)
_ONCE = {"idempotency-key": "made-once"}


@pytest.fixture
async def api(stores: RunningStores, tmp_path: Path, clock: MovingClock) -> AsyncIterator[Api]:
    async with open_api(stores, tmp_path, label="keys", clock=clock) as opened:
        yield opened


@asynccontextmanager
async def another_process(api: Api) -> AsyncIterator[Api]:
    """The same application once more, with a ring of its own."""
    loaded = api.loaded
    async with open_runtime(loaded, role=MongoRole.API, clock=api.runtime.clock) as runtime:
        add_identity(runtime, loaded)
        runtime.add(outbound_client(loaded))
        try:
            yield Api(loaded, runtime, build_app(runtime, ROUTES))
        finally:
            runtime.feature(Identity).passwords.close()
            await runtime.feature(OutboundClient).aclose()


def in_process(person: Person, api: Api) -> Person:
    """The same person, asking another process."""
    return replace(person, app=api.gate)


def key_file(api: Api) -> Path:
    return places.data_key_file(api.loaded)


def operator(api: Api) -> Context:
    return Context(api.runtime, SYSTEM, request_id="test", via="cli")


async def check(api: Api) -> list[SealedValues]:
    """As a program would that starts now: with the keys that are in the file."""
    async with another_process(api) as fresh:
        return await keys.check(operator(fresh), SEALED)


async def rotate(api: Api, *, pace: Pace = AT_ONCE, **options: Any) -> Rotation:
    """As the command line does it: in a process of its own."""
    async with another_process(api) as fresh:
        return await keys.rotate_data(
            operator(fresh), key_file(api), fields=SEALED, pace=pace, **options
        )


async def find_traces(api: Api, key_id: str) -> list[str]:
    """Collections in whose rows something names the key."""
    found = []
    for name in await api.collections():
        rows = str(await api.rows(name))
        if f"'{key_id}." in rows:
            found.append(name)
    return found


@dataclass
class Secrets:
    """What is sealed, as its owners know it."""

    api: Api
    ada: Person
    app: App
    pending_secret: str
    webhook: dict[str, Any]
    once: bytes
    mailed: str

    async def assert_all_open(self, api: Api) -> None:
        """Everybody gets by with what they know, in that process."""
        ada = in_process(self.ada, api)
        webhooks = SubscriptionStore(api.runtime.db.tenant(str(ada.company_id)))
        subscription = await webhooks.get(self.webhook["id"])
        (live,) = signing_secrets.live(api.runtime.keys, subscription, api.runtime.clock())
        assert live.value == self.webhook["secret"]
        assert headers.unseal(api.runtime.keys, subscription) == _OWN_HEADERS
        again = await ada.post("/invites", _INVITE, headers=_ONCE)
        assert (again.status, again.body) == (201, self.once)
        (mail,) = await mails(api, _INVITE["email"])
        assert mail["data"]["link"] == self.mailed
        token = await challenge(api, ada)
        assert (await answer_challenge(api, token, self.app.code())).status == 200
        self.app.clock.advance(seconds=60)
        assert (await walk(api, ada.company_id)).finding is None

    async def assert_pending_opens(self, api: Api) -> None:
        code = App(self.pending_secret, self.app.clock).code()
        answer = await in_process(self.ada, api).post("/auth/mfa/verify", {"code": code})
        assert answer.status == 200, answer.body


_OWN_HEADERS = {"Authorization": "Bearer of-the-receiver"}
_HOOK = {"url": RECEIVER_URL, "events": ["*"], "headers": _OWN_HEADERS}
_INVITE = {"email": "invited@example.com", "role": "user"}


@pytest.fixture
async def secrets(api: Api, clock: MovingClock) -> Secrets:
    ada = await api.found_company()
    app, _ = await set_up_mfa(ada, clock)
    pending = await ada.post("/auth/mfa/setup", {"password": PASSWORD})
    webhook = await ada.post("/webhooks", _HOOK)
    once = await ada.post("/invites", _INVITE, headers=_ONCE)
    assert (webhook.status, once.status) == (201, 201)
    await seal(api)
    return Secrets(
        api=api,
        ada=ada,
        app=app,
        pending_secret=pending.json()["secret"],
        webhook=webhook.json(),
        once=once.body,
        mailed=once.json()["link"],
    )
