"""The API in this process: the real application over real stores, but no network.

`open_api` is put together as an API process puts itself together. A module asks
for the fixture `api` (open registration, no rate limits, a database of its own),
or opens one with the settings that it is about.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pymongo.errors import PyMongoError

from novapulse.core import openapi
from novapulse.core.access import SYSTEM, Principal, Role
from novapulse.core.clock import Clock, system_clock
from novapulse.core.context import Context, Runtime
from novapulse.core.documents import new_object_id
from novapulse.core.health import Health
from novapulse.core.http import Gate
from novapulse.core.migrate import migrate
from novapulse.core.outbound import OutboundClient
from novapulse.core.settings import Loaded, Paths, Settings
from novapulse.core.settings import sections as keys
from novapulse.identity.model import Account, Company, User
from novapulse.identity.service import Identity
from novapulse.identity.store import SESSIONS
from novapulse.migrations.order import MIGRATIONS
from novapulse.ops.routes import Description
from novapulse.people import accounts
from novapulse.people.model import NewAccount
from novapulse.processes import places
from novapulse.processes.app import build_app
from novapulse.processes.features import INDEXES, ROUTES
from novapulse.processes.runtime import add_identity, open_runtime, outbound_client
from novapulse.signin import registration
from novapulse.signin import service as signin
from novapulse.signin.model import Login, Register
from novapulse.stores.layout import MongoRole
from tests.support.stores import RunningStores

PASSWORD = "correct horse battery staple"
SETUP_TOKEN = "the-setup-token-of-this-test"
# Documentation addresses: neither this machine nor a proxy that anybody trusts.
SOMEWHERE = "192.0.2.1"
# A literal address that webhooks may name; nothing in these tests connects to it.
RECEIVER_URL = "https://93.184.215.14/hook"
ABSENT: Any = object()
_numbers = itertools.count(1)

Message = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    set_cookies: tuple[str, ...] = ()

    @property
    def cookies(self) -> dict[str, str]:
        """What a browser would send back, by name."""
        pairs = (cookie.partition(";")[0].partition("=") for cookie in self.set_cookies)
        return {name: value for name, _, value in pairs}

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The problem's code."""
        return str(self.json()["code"])

    @property
    def paths(self) -> list[str]:
        """Where the values are that the problem is about."""
        return [error["path"] for error in self.json()["errors"]]

    def anonymous_body(self) -> bytes:
        """The body as it is for everybody: without the request's id."""
        return self.body.replace(self.headers["x-request-id"].encode(), b"<request id>")


@dataclass(frozen=True)
class Client:
    """Calls the ASGI application directly, with the same credentials each time."""

    app: Gate
    headers: Mapping[str, str] = field(default_factory=dict)
    peer: str | None = SOMEWHERE

    async def request(
        self,
        method: str,
        path: str,
        *,
        data: Any = ABSENT,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`path` is below /api/v1 and may have a query; `data` is sent as JSON."""
        merged = {**self.headers, **(headers or {})}
        if data is not ABSENT:
            body = json.dumps(data).encode()
            merged = {"content-type": "application/json", **merged}
        scope = _scope(method, path, headers=merged, peer=self.peer)
        return await _run(self.app, scope, [body])

    async def send_chunks(self, method: str, path: str, chunks: list[bytes]) -> Answer:
        """A body that comes in several messages and tells nothing of its length before."""
        merged = {"content-type": "application/json", **self.headers}
        scope = _scope(method, path, headers=merged, peer=self.peer)
        return await _run(self.app, scope, chunks)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str, data: Any = ABSENT, **options: Any) -> Answer:
        return await self.request("POST", path, data=data, **options)

    async def patch(self, path: str, data: Any = ABSENT, **options: Any) -> Answer:
        return await self.request("PATCH", path, data=data, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.request("DELETE", path, **options)


def _scope(method: str, target: str, *, headers: Mapping[str, str], peer: str | None) -> Message:
    raw_path, _, query = f"/api/v1{target}".partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
        "client": None if peer is None else (peer, 40_000),
        "server": ("127.0.0.1", 5_000),
    }


async def _run(app: Gate, scope: Message, chunks: list[bytes]) -> Answer:
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, start=1)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()  # the client stays until it has the answer
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *rest = sent
    assert start["type"] == "http.response.start"
    assert {message["type"] for message in rest} == {"http.response.body"}
    assert [bool(message.get("more_body")) for message in rest] == [True] * (len(rest) - 1) + [
        False
    ]
    names = [name for name, _ in start["headers"] if name != b"set-cookie"]
    assert len(names) == len(set(names)), f"a header came twice: {names}"
    headers = {name.decode(): text.decode() for name, text in start["headers"]}
    cookies = [text.decode() for name, text in start["headers"] if name == b"set-cookie"]
    content = b"".join(message.get("body", b"") for message in rest)
    return Answer(start["status"], headers, content, tuple(cookies))


@dataclass(frozen=True)
class Person(Client):
    """Somebody who signed in; calls are made with their token."""

    id: str = ""
    email: str = ""
    role: Role = Role.USER
    company_id: str | None = None
    token: str = ""


class Api:
    """The application with what tests need to fill it and to look behind it."""

    def __init__(self, loaded: Loaded, runtime: Runtime, gate: Gate) -> None:
        self.loaded = loaded
        self.runtime = runtime
        self.gate = gate
        self._password_hash = ""

    @property
    def setup_token_file(self) -> Path:
        return places.setup_token_file(self.loaded)

    @property
    def health(self) -> Health:
        return self.runtime.feature(Health)

    @property
    def identity(self) -> Identity:
        return self.runtime.feature(Identity)

    def client(self, *, peer: str | None = SOMEWHERE, **headers: str) -> Client:
        """Somebody without credentials."""
        return Client(self.gate, headers, peer)

    def context(self, principal: Principal | None = None) -> Context:
        """What a service runs with; without a principal it is a stranger's."""
        whose = principal or Principal(user_id="anonymous", role=Role.USER)
        return Context(self.runtime, whose, request_id="test")

    def offer_setup_token(self) -> str:
        """What the first start does: from now on the first company can be founded."""
        path = self.setup_token_file
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(SETUP_TOKEN + "\n")
        path.chmod(0o600)
        return SETUP_TOKEN

    async def found_company(self) -> Person:
        """A new company's administrator."""
        number = next(_numbers)
        command = Register(
            company_name=f"Company {number}",
            name=f"Founder {number}",
            email=f"founder{number}@example.com",
            password=PASSWORD,
            setup_token=self.offer_setup_token(),
        )
        signed_in = await registration.register(self.context(), command)
        assert isinstance(signed_in.company, Company)
        return self._person(signed_in.user, signed_in.access_token, signed_in.company.id)

    async def add_member(self, company_id: str, role: Role = Role.USER) -> Person:
        """Another user of a company, signed in."""
        number = next(_numbers)
        now = self.runtime.clock()
        user = User(
            id=new_object_id(),
            email=f"{role.value}{number}@example.com",
            name=f"{role.value} {number}",
            role=role,
            created_at=now,
            updated_at=now,
        )
        self._password_hash = self._password_hash or await self.identity.passwords.hash(PASSWORD)
        account = Account(user=user, company_id=company_id, password_hash=self._password_hash)
        await self.identity.accounts.insert(account)
        return await self.sign_in(user.email)

    async def add_operator(self) -> Person:
        """A super_admin, who belongs to no company."""
        email = f"operator{next(_numbers)}@example.com"
        command = NewAccount(email=email, name="Operator", role=Role.SUPER_ADMIN)
        password = await accounts.create_account(self.context(SYSTEM), command)
        return await self.sign_in(email, password)

    async def sign_in(self, email: str, password: str = PASSWORD) -> Person:
        signed_in = await signin.login(self.context(), Login(email=email, password=password))
        account = await self.identity.accounts.find(signed_in.user.id)
        assert account is not None
        return self._person(account.user, signed_in.access_token, account.company_id)

    def _person(self, user: User, token: str, company_id: str | None) -> Person:
        return Person(
            app=self.gate,
            headers={"authorization": f"Bearer {token}"},
            id=user.id,
            email=user.email,
            role=user.role,
            company_id=company_id,
            token=token,
        )

    async def end_sessions(self, person: Person) -> None:
        await self.runtime.db.platform(SESSIONS).delete_many({"userId": person.id})

    async def rows(self, collection: str, **where: Any) -> list[dict[str, Any]]:
        """The raw rows, oldest first, as whoever reads the disk sees them."""
        found = self.runtime.db.platform(collection)
        return await found.find(where, sort=(("createdAt", 1), ("_id", 1)), limit=10_000)

    async def collections(self) -> list[str]:
        return sorted(await self.runtime.db.raw.list_collection_names())


def as_principal(person: Person) -> Principal:
    return Principal(user_id=person.id, role=person.role, company_id=person.company_id)


@asynccontextmanager
async def open_api(
    stores: RunningStores,
    directory: Path,
    *,
    label: str = "api",
    clock: Clock = system_clock,
    **sections: Any,
) -> AsyncIterator[Api]:
    """An application over a database of its own, with all indexes; `sections` are settings."""
    chosen: dict[str, Any] = {
        "mongo": keys.Mongo(uri=stores.mongo_uri, database=stores.database_name(label)),
        "redis": keys.Redis(url=stores.redis_url),
        "rate_limits": keys.RateLimits(enabled=False),
        "registration": keys.Registration(mode="open"),
        **sections,
    }
    state = directory / "state"
    state.mkdir(exist_ok=True)
    paths = Paths(
        config_file=directory / "config.toml", state=state, run=directory, log=directory / "log"
    )
    loaded = Loaded(settings=Settings(**chosen), origins={}, paths=paths)
    async with open_runtime(loaded, role=MongoRole.API, clock=clock) as runtime:
        await migrate(runtime.db, MIGRATIONS, indexes=INDEXES, owner="tests")
        add_identity(runtime, loaded)
        runtime.add(outbound_client(loaded))
        runtime.add(Health(runtime, state_directory=state))
        runtime.add(Description(partial(openapi.document, ROUTES)))
        try:
            yield Api(loaded, runtime, build_app(runtime, ROUTES))
        finally:
            runtime.feature(Identity).passwords.close()
            await runtime.feature(OutboundClient).aclose()
            with suppress(PyMongoError):  # a test may have taken the store away
                await runtime.db.client.drop_database(loaded.settings.mongo.database)


@pytest.fixture(scope="module")
async def api(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """One application a module; tests share it and found companies of their own."""
    async with open_api(stores, tmp_path_factory.mktemp("api")) as opened:
        yield opened
