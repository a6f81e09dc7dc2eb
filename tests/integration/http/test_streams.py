"""Answers that are made while they are sent, over real connections."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from novapulse.core import streaming
from novapulse.core.context import Context, Runtime
from novapulse.core.errors import Unavailable
from novapulse.core.http import Gate
from novapulse.core.routing import Routes, Stream
from novapulse.core.settings import Settings
from novapulse.core.telemetry import metrics
from novapulse.processes.app import build_app
from novapulse.processes.protocol import Limits
from novapulse.processes.server import Server
from tests.support.engine import until

SECONDS = 10.0
PIECE = b"x" * 65_536


@dataclass
class Made:
    """What the handlers' generators did."""

    pieces: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Site:
    gate: Gate
    server: Server
    made: Made
    address: tuple[str, int]

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address)

    async def ask(self, path: str, method: str = "GET", version: str = "1.1") -> bytes:
        """Everything until the server closes, as bytes."""
        reader, writer = await self.open()
        try:
            writer.write(request(path, method, version, "Connection: close\r\n"))
            async with asyncio.timeout(SECONDS):
                return await reader.read()
        finally:
            writer.close()


def request(path: str, method: str = "GET", version: str = "1.1", more: str = "") -> bytes:
    return f"{method} /api/v1/{path} HTTP/{version}\r\nHost: a\r\n{more}\r\n".encode()


def routes_of(made: Made) -> Routes:
    routes = Routes("tests")
    public: dict[str, Any] = {"scope": None, "limit": None}

    async def pieces(number: int, *, fail_after: int = -1) -> AsyncGenerator[bytes, None]:
        try:
            for at in range(number):
                if at == fail_after:
                    raise Unavailable("the store went away")
                made.pieces += 1
                yield PIECE
                if at == 0:
                    await made.may_go_on.wait()
        finally:
            made.ended.set()

    @routes.add("GET", "/whole", **public)
    async def whole(ctx: Context) -> Stream:
        return Stream(pieces(3), headers=[(b"content-type", b"text/plain")])

    @routes.add("GET", "/sized", **public)
    async def sized(ctx: Context) -> Stream:
        return Stream(pieces(2), headers=[], size=2 * len(PIECE))

    @routes.add("GET", "/empty", **public)
    async def empty(ctx: Context) -> Stream:
        return Stream(pieces(0), headers=[])

    @routes.add("GET", "/endless", **public)
    async def endless(ctx: Context) -> Stream:
        return Stream(pieces(10_000_000), headers=[])

    @routes.add("GET", "/breaks", **public)
    async def breaks(ctx: Context) -> Stream:
        return Stream(pieces(5, fail_after=2), headers=[])

    @routes.add("GET", "/never", **public)
    async def never(ctx: Context) -> Stream:
        return Stream(pieces(5, fail_after=0), headers=[])

    return routes


@asynccontextmanager
async def serving(*, stream_seconds: float = 60.0) -> AsyncIterator[Site]:
    made, nothing = Made(), None
    settings = Settings()
    server_settings = msgspec.structs.replace(settings.server, stream_seconds=stream_seconds)
    settings = msgspec.structs.replace(settings, server=server_settings)
    parts: Any = {"db": nothing, "cache": nothing, "bell": nothing, "keys": nothing}
    gate = build_app(Runtime(settings=settings, **parts), routes_of(made).declared)
    server = Server(gate, Limits())
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    await server.start(listener)
    try:
        yield Site(gate, server, made, listener.getsockname())
    finally:
        made.may_go_on.set()
        await server.drain(seconds=2.0)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as running:
        yield running


def answers(route: str, status: int) -> float:
    _, counted = metrics.http_request("GET", f"/api/v1/{route}", status)
    return float(counted._value.get())


def failures(route: str, status: int, code: str) -> float:
    labels = ("GET", f"/api/v1/{route}", str(status), code)
    return float(metrics.http_request_errors_total.labels(*labels)._value.get())


def body_of(raw: bytes) -> tuple[bytes, bytes, bool]:
    """The head, the body out of its chunks, and whether its end came."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return head, body, True
        body, rest = body + rest[:length], rest[length + 2 :]
    return head, body, False


async def test_a_stream_arrives_whole_and_the_connection_goes_on(site: Site) -> None:
    site.made.may_go_on.set()
    head, body, is_whole = body_of(await site.ask("whole"))
    assert head.startswith(b"HTTP/1.1 200")
    assert b"x-request-id:" in head
    assert (body, is_whole) == (3 * PIECE, True)
    reader, writer = await site.open()
    writer.write(request("sized") + request("sized"))
    async with asyncio.timeout(SECONDS):
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            assert f"content-length: {2 * len(PIECE)}".encode() in head
            assert await reader.readexactly(2 * len(PIECE)) == 2 * PIECE
    writer.close()
    await settled(site)
    assert answers("sized", 200) >= 2


async def test_an_empty_stream_is_an_empty_answer(site: Site) -> None:
    _, body, is_whole = body_of(await site.ask("empty"))
    assert (body, is_whole) == (b"", True)


async def test_nothing_is_made_for_a_head(site: Site) -> None:
    answer = await site.ask("sized", "HEAD")
    assert answer.startswith(b"HTTP/1.1 200")
    assert f"content-length: {2 * len(PIECE)}".encode() in answer
    assert answer.endswith(b"\r\n\r\n")
    assert site.made.pieces == 0


async def test_the_first_piece_comes_before_the_last_one_is_made(site: Site) -> None:
    reader, writer = await site.open()
    writer.write(request("whole"))
    async with asyncio.timeout(SECONDS):
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1_000)
    assert site.made.pieces == 1
    writer.close()


async def test_who_leaves_ends_the_making(site: Site) -> None:
    before = failures("endless", 499, "client_gone")
    reader, writer = await site.open()
    writer.write(request("endless"))
    async with asyncio.timeout(SECONDS):
        await reader.readexactly(1_000)
        writer.close()
        await site.made.ended.wait()
    assert site.made.pieces == 1
    await settled(site)
    assert failures("endless", 499, "client_gone") == before + 1


async def settled(site: Site) -> None:
    await until(lambda: not site.gate.in_flight, what="the answers to be over")


async def test_what_breaks_in_the_middle_has_no_end(site: Site) -> None:
    before = failures("breaks", 500, "broken_off")
    site.made.may_go_on.set()
    reader, writer = await site.open()
    writer.write(request("breaks"))
    raw = b""
    async with asyncio.timeout(SECONDS):
        try:
            while data := await reader.read(65_536):
                raw += data
        except ConnectionError:
            pass  # cut, so that also one who counts nothing notices
    writer.close()
    head, _, is_whole = body_of(raw)
    assert head.startswith(b"HTTP/1.1 200")
    assert not is_whole
    await settled(site)
    assert failures("breaks", 500, "broken_off") == before + 1


async def test_what_breaks_before_anything_was_sent_is_answered(site: Site) -> None:
    answer = await site.ask("never")
    assert answer.startswith(b"HTTP/1.1 503")
    assert b'"code":"unavailable"' in answer


async def test_a_client_that_reads_nothing_is_let_go(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "STALL_SECONDS", 0.3)
    site.made.may_go_on.set()
    with socket.create_connection(site.address) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.sendall(request("endless"))
        async with asyncio.timeout(SECONDS):
            await site.made.ended.wait()
        await until(lambda: not site.server._connections, what="the connection to be closed")


async def test_a_stream_is_bounded_in_time() -> None:
    async with serving(stream_seconds=0.3) as site:
        raw = await site.ask("whole")
        _, body, is_whole = body_of(raw)
        assert not is_whole
        assert len(body) <= len(PIECE)
        assert site.made.ended.is_set()


async def test_a_drain_waits_for_a_stream_until_its_time_is_over() -> None:
    async with serving() as site:
        reader, writer = await site.open()
        writer.write(request("whole"))
        async with asyncio.timeout(SECONDS):
            await reader.readuntil(b"\r\n\r\n")
            draining = asyncio.create_task(site.server.drain(seconds=5.0))
            await asyncio.sleep(0.1)
            site.made.may_go_on.set()
            raw = b"transfer-encoding: chunked\r\n\r\n" + await reader.read()
            await draining
        _, body, is_whole = body_of(raw)
        assert (body, is_whole) == (3 * PIECE, True)
        writer.close()
