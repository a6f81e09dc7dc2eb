"""Receivers that mean harm, in a process of their own: what they spend is not what we spend.

`python -m tests.support.hostile DIRECTORY` listens on two ports of the loopback, plain and
TLS by a certificate that nobody trusts, and prints both; a path says what is done.
"""

import asyncio
import contextlib
import socket
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.receivers import read_request, self_signed

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MIB = 1_048_576


def _head(*lines: str, status: int = 200) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} Whatever", *lines, "", ""]).encode()


async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_head())
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def gzip_bomb(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A GiB of zeros in about a MiB."""
    writer.write(_head("Content-Encoding: gzip", "Content-Type: application/json"))
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(MIB)
    for _unused in range(1_024):
        writer.write(packer.compress(zeros))
        await writer.drain()
        await asyncio.sleep(0)
    writer.write(packer.flush())


async def long_header(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * MIB + b"\r\n\r\n")
    await writer.drain()


async def many_headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: 1\r\n" * 1_000)
        await writer.drain()


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_head("Content-Length: 100000"))
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def drip_of_headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def status_999(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_head("Content-Length: 0", status=999))
    await writer.drain()


async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff" * 50_000)
    await writer.drain()


SCRIPTS: dict[str, Script] = {
    "/endless": endless,
    "/gzip": gzip_bomb,
    "/long-header": long_header,
    "/many-headers": many_headers,
    "/drip": drip,
    "/drip-of-headers": drip_of_headers,
    "/silent": silent,
    "/reset": reset,
    "/status-999": status_999,
    "/nonsense": nonsense,
}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        request = await read_request(reader)
        path = request.split(b" ", 2)[1].decode() if request else ""
        await SCRIPTS.get(path, reset)(reader, writer)
    writer.close()


@contextlib.asynccontextmanager
async def _listening(directory: Path) -> AsyncIterator[tuple[int, int]]:
    tls, _ = self_signed(directory, name="hooks.example.com")
    plain = await asyncio.start_server(_serve, "127.0.0.1", 0)
    secure = await asyncio.start_server(_serve, "127.0.0.1", 0, ssl=tls)
    async with plain, secure:
        yield plain.sockets[0].getsockname()[1], secure.sockets[0].getsockname()[1]


async def main(directory: Path) -> None:
    async with _listening(directory) as ports:
        print(*ports, flush=True)
        await asyncio.to_thread(sys.stdin.read)  # until whoever started us is gone


@dataclass(frozen=True)
class HostileReceivers:
    port: int
    tls_port: int

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def untrusted_url(self) -> str:
        return f"https://127.0.0.1:{self.tls_port}/status-999"


@contextmanager
def hostile_receivers() -> Iterator[HostileReceivers]:
    """The process; it ends with the block, or with us."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as directory:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.support.hostile", directory],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            ports = child.stdout.readline().split()
            yield HostileReceivers(int(ports[0]), int(ports[1]))
        finally:
            child.kill()
            child.wait(10)
            child.stdin.close()
            child.stdout.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
