"""Keep-alive clients that ask without a pause, and count what a user would call an error."""

import asyncio
import re
import signal
import ssl
import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress
from types import TracebackType

_ANSWER_SECONDS = 30.0
_REFUSALS_KEPT = 20


class KeepAliveLoad:
    """`connections` clients on a thread of their own, from `with` to its end.

    Each asks on one connection until the server says `Connection: close`, then on a new
    one. `faults` are requests that went out and came back with no answer or half of one,
    and connections that were refused. With `rest_seconds` each rests after every answer, so
    that who is asked is not kept busy by it alone.
    """

    def __init__(
        self,
        address: str,
        path: str,
        *,
        headers: dict[str, str],
        connections: int,
        tls: ssl.SSLContext | None = None,
        rest_seconds: float = 0.0,
    ) -> None:
        self._tls = tls
        self._rest_seconds = rest_seconds
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        lines = [f"GET {path} HTTP/1.1", f"Host: {address}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._request = ("\r\n".join(lines) + "\r\n\r\n").encode()
        self._connections = connections
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._is_over = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []
        self.refusals: list[str] = []
        self.reconnects = 0
        self.longest_seconds = 0.0

    def __enter__(self) -> "KeepAliveLoad":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    def wait_for_more(self, number: int, *, seconds: float = 60.0) -> None:
        """Until so many more requests were answered."""
        enough, deadline = self.total + number, time.monotonic() + seconds
        while self.total < enough:
            assert time.monotonic() < deadline, (self.statuses, self.faults[:5])
            time.sleep(0.01)

    def summary(self) -> str:
        return (
            f"{self.total} answers {dict(self.statuses)} on {self._connections} connections, "
            f"{self.reconnects} new ones, longest {self.longest_seconds:.2f} s, "
            f"{len(self.faults)} faults {self.faults[:3]} {self.refusals[:3]}"
        )

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._connections)))

    async def _client(self) -> None:
        while not self._is_over.is_set():
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    reader, writer = await asyncio.open_connection(
                        self._host, self._port, ssl=self._tls
                    )
            except (OSError, TimeoutError) as error:
                self.faults.append(f"connect: {error!r}")
                await asyncio.sleep(0.05)
                continue
            try:
                await self._use(reader, writer)
            finally:
                writer.close()
                if self._tls is not None:  # it says farewell first
                    with suppress(OSError, TimeoutError):
                        await asyncio.wait_for(writer.wait_closed(), 1)
            self.reconnects += 1

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = 0
        while not self._is_over.is_set():
            started = time.monotonic()
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._send(writer)
                    status, is_last, body = await _read_answer(reader)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                self.faults.append(f"{error!r} after {answers} answers")
                return
            answers += 1
            self.statuses[status] += 1
            if status >= 300 and len(self.refusals) < _REFUSALS_KEPT:
                self.refusals.append(body.decode(errors="replace"))
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)
            if is_last:
                return
            await asyncio.sleep(self._rest_seconds)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        writer.write(self._request)


class SlowUploads(KeepAliveLoad):
    """Clients whose every request takes `seconds` to arrive, in `_PIECES` parts of its body.

    Whatever leaves meanwhile leaves with a request in flight.
    """

    _PIECES = 5

    def __init__(
        self,
        address: str,
        path: str,
        *,
        headers: dict[str, str],
        connections: int,
        body: bytes,
        seconds: float,
    ) -> None:
        super().__init__(address, path, headers=headers, connections=connections)
        lines = [f"POST {path} HTTP/1.1", f"Host: {address}", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        self._head, self._body = "\r\n".join(lines).encode(), body
        self._pause = seconds / self._PIECES

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        size = -(-len(self._body) // self._PIECES)
        writer.write(self._head)
        for start in range(0, len(self._body), size):
            await asyncio.sleep(self._pause)
            writer.write(self._body[start : start + size])
            await writer.drain()


class WrkLoad:
    """wrk against one address until the end of the block; `said` is what it found."""

    def __init__(self, url: str, *, headers: dict[str, str], connections: int) -> None:
        command = ["wrk", "-t1", f"-c{connections}", "-d600s", "--timeout", f"{_ANSWER_SECONDS:g}s"]
        command += [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        self._command = [*command, url]
        self.said = ""

    @property
    def answers(self) -> int:
        found = re.search(r"(\d+) requests in", self.said)
        return int(found[1]) if found else 0

    @property
    def faults(self) -> list[str]:
        """Answers other than 2xx and 3xx, and connections that failed."""
        return re.findall(r"Non-2xx.*|Socket errors.*", self.said)

    def __enter__(self) -> "WrkLoad":
        self._wrk = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        # It prints what it has when it is interrupted.
        self._wrk.send_signal(signal.SIGINT)
        try:
            self.said, _ = self._wrk.communicate(timeout=_ANSWER_SECONDS)
        finally:
            self._wrk.kill()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool, bytes]:
    """The status, whether the server closes now, and the body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    lines = head.split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
    body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
    return int(lines[0].split()[1]), headers.get(b"connection") == b"close", body
