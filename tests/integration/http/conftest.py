"""The real server in this process, on a port from the kernel, asked byte by byte.

Its routes are of these tests' own and ask no store, so that nothing but HTTP is tested.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import pytest

from novapulse.core.context import Context, Runtime
from novapulse.core.http import Gate
from novapulse.core.routing import Routes
from novapulse.core.settings import Settings
from novapulse.processes.app import build_app
from novapulse.processes.protocol import Limits
from novapulse.processes.server import Server

SECONDS = 10.0  # for what has to happen; a test that waits as long has failed
PROBE = b"GET /api/v1/echo HTTP/1.1\r\nHost: a\r\n\r\n"


class Note(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    number: int | None = None


class Heard(msgspec.Struct):
    """What a handler got, and how often any handler ran before."""

    text: str
    calls: int


class Search(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


@dataclass
class Calls:
    """What the handlers did, and a brake for the slow one."""

    made: list[str] = field(default_factory=list)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, text: str) -> Heard:
        self.made.append(text)
        return Heard(text, len(self.made))


def routes_of(calls: Calls) -> Routes:
    routes = Routes("tests")
    public: dict[str, Any] = {"scope": None, "limit": None}

    @routes.add("GET", "/echo", **public)
    async def echo(ctx: Context) -> Heard:
        return calls.heard(f"echo for {ctx.request_id}")

    @routes.add("GET", "/search", **public)
    async def search(ctx: Context, query: Search) -> Heard:
        return calls.heard(f"limit {query.limit}")

    @routes.add("POST", "/notes", status=201, **public)
    async def note(ctx: Context, body: Note) -> Heard:
        return calls.heard(f"{len(body.text)} characters")

    @routes.add("DELETE", "/notes/{note_id}", **public)
    async def remove(ctx: Context, note_id: str) -> None:
        calls.heard(f"removed {note_id}")

    @routes.add("POST", "/ring", **public)
    async def ring(ctx: Context) -> Heard:
        return calls.heard("rang")

    @routes.add("GET", "/slow", **public)
    async def slow(ctx: Context) -> Heard:
        await calls.may_end.wait()
        return calls.heard("slow")

    @routes.add("GET", "/large", **public)
    async def large(ctx: Context) -> Heard:
        return calls.heard("x" * 1_000_000)

    return routes


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The problem's code, or nothing."""
        return str(self.json().get("code", "")) if self.body else ""


class Connection:
    """One client's end, which sends what it is told to and nothing else."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.was_told = asyncio.Event()  # to go on and send its body

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def send_slowly(self, data: bytes, *, pause_seconds: float = 0.0) -> None:
        """Byte by byte, each in a segment of its own."""
        for at in range(len(data)):
            await self.send(data[at : at + 1])
            await asyncio.sleep(pause_seconds)

    def end(self) -> None:
        """Nothing more will be sent; answers may still come."""
        self._writer.write_eof()

    async def answer(self, *, to_head: bool = False) -> Answer:
        """The next response; informational ones are skipped."""
        async with asyncio.timeout(SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
            line, *fields = head[:-4].decode("latin-1").split("\r\n")
            status = int(line.split(" ")[1])
            if status == 100:
                self.was_told.set()
                return await self.answer(to_head=to_head)
            pairs = [text.partition(":")[::2] for text in fields]
            headers = {name.lower(): value.strip() for name, value in pairs}
            assert len(headers) == len(pairs), f"a header came twice: {fields}"
            size = 0 if to_head else int(headers.get("content-length", "0"))
            return Answer(status, headers, await self._reader.readexactly(size))

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(SECONDS):
            return await self._reader.read()

    async def is_kept(self) -> bool:
        """Whether the server answers another request; else it must have closed."""
        try:
            await self.send(PROBE)
            return (await self.answer()).status == 200
        except (asyncio.IncompleteReadError, ConnectionError):
            return False

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            pass  # the server was first


@dataclass
class Site:
    """A running server and what its handlers did."""

    server: Server
    gate: Gate
    calls: Calls
    address: tuple[str, int]

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        reader, writer = await asyncio.open_connection(*self.address)
        connection = Connection(reader, writer)
        try:
            yield connection
        finally:
            await connection.close()

    async def ask(self, request: bytes) -> tuple[Answer, bool]:
        """One answer on a new connection, and whether the connection is kept after it."""
        async with self.connect() as connection:
            await connection.send(request)
            answer = await connection.answer(to_head=request.startswith(b"HEAD"))
            return answer, await connection.is_kept()


@asynccontextmanager
async def serving(
    listener: socket.socket | None = None, *, tls: ssl.SSLContext | None = None, **limits: Any
) -> AsyncIterator[Site]:
    calls = Calls()
    nothing: Any = None
    runtime = Runtime(settings=Settings(), db=nothing, cache=nothing, bell=nothing, keys=nothing)
    gate = build_app(runtime, routes_of(calls).declared)
    server = Server(gate, Limits(**limits), tls=tls)
    listener = listener or socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    address = listener.getsockname()
    await server.start(listener)
    try:
        yield Site(server, gate, calls, address)
    finally:
        calls.may_end.set()
        await server.drain(seconds=3.0)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """With the limits that the program has by default."""
    async with serving() as running:
        yield running
