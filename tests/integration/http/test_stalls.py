"""Who does not read: nobody waits for ever, on either path, and however the connection ends."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from novapulse.processes.connections import LEAST_BYTES
from novapulse.processes.lean import LeanConnection
from novapulse.processes.protocol import StrictServer
from tests.integration.http.conftest import SECONDS, Site, serving
from tests.integration.http.test_requests import CHUNKS, chunked, get
from tests.support import certificates
from tests.support.engine import until

LARGE = get(line=b"GET /api/v1/large HTTP/1.1")
# What is asked first, and who serves the connection from then on.
PATHS = [(b"", LeanConnection), (chunked(CHUNKS), StrictServer)]
on_both_paths = pytest.mark.parametrize(("first", "kind"), PATHS, ids=["lean", "hypercorn"])


@contextmanager
def deaf_client(site: Site) -> Iterator[socket.socket]:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(site.address)
        yield client


@pytest.fixture
async def hasty() -> AsyncIterator[Site]:
    async with serving(stall_seconds=0.3, idle_seconds=1.0) as running:
        yield running


def served(site: Site) -> Any:
    (connection,) = site.server._connections
    return connection


async def until_closed(site: Site) -> None:
    await until(
        lambda: not site.server._connections,
        what="the connection to be closed",
        seconds=SECONDS,
    )


@on_both_paths
async def test_who_reads_nothing_is_let_go(first: bytes, kind: type) -> None:
    async with serving(stall_seconds=0.3) as site:
        with deaf_client(site) as client:
            client.sendall(first + LARGE * 40)
            await until(lambda: site.calls.made, what="an answer")
            assert type(served(site)) is kind
            await until_closed(site)


async def test_with_tls_too(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificates.self_signed(timedelta(days=1)))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    trusting = ssl.create_default_context(cafile=str(file))
    trusting.check_hostname = False  # it has a common name only

    def ask(client: socket.socket) -> ssl.SSLSocket:
        wrapped = trusting.wrap_socket(client)
        wrapped.sendall(LARGE * 40)
        return wrapped

    async with serving(tls=tls, stall_seconds=0.3) as site:
        with deaf_client(site) as client, await asyncio.to_thread(ask, client):
            await until(lambda: site.calls.made, what="an answer")
            task = served(site).task
            await until_closed(site)
            assert task.exception() is None


@on_both_paths
@pytest.mark.parametrize("end", ["idle", "drain", "half", "last"])
async def test_a_connection_that_is_closed_does_not_wait_for_who_reads_nothing(
    hasty: Site, first: bytes, kind: type, end: str
) -> None:
    last = get(b"Connection: close") if end == "last" else b""
    with deaf_client(hasty) as client:
        client.sendall(first or get())
        await until(lambda: hasty.calls.made, what="the first answer")
        connection = served(hasty)
        assert type(connection) is kind
        transport = connection.transport if kind is LeanConnection else connection.writer.transport
        transport.set_write_buffer_limits(high=1 << 30)  # no answer waits for room
        client.sendall(LARGE * 5 + last)
        await until(lambda: len(hasty.calls.made) == 6 + bool(last), what="all answers")
        assert transport.get_write_buffer_size() > LEAST_BYTES
        if end == "half":
            client.shutdown(socket.SHUT_WR)
        if end == "drain":
            await hasty.server.drain(seconds=SECONDS)
            assert not hasty.server._connections
        await until_closed(hasty)


@on_both_paths
async def test_who_reads_late_gets_all_of_it(site: Site, first: bytes, kind: type) -> None:
    async with site.connect() as connection:
        await connection.send(first + LARGE * 40)
        if first:
            assert (await connection.answer()).status == 201
        await asyncio.sleep(0.3)
        for _ in range(40):
            assert len((await connection.answer()).body) > 1_000_000
        assert type(served(site)) is kind
