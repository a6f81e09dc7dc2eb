"""Keep-alive clients that ask without a pause, and count what a user would call an error."""

import asyncio
import threading
import time
from collections import Counter
from types import TracebackType

_ANSWER_SECONDS = 30.0


class KeepAliveLoad:
    """`connections` clients on a thread of their own, from `with` to its end.

    Each asks on one connection until the server says `Connection: close`, then on a new
    one. `faults` are requests that went out and came back with no answer or half of one,
    and connections that were refused.
    """

    def __init__(
        self, address: str, path: str, *, headers: dict[str, str], connections: int
    ) -> None:
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

    def wait_for_more(self, number: int, *, seconds: float = 20.0) -> None:
        """Until so many more requests were answered."""
        enough, deadline = self.total + number, time.monotonic() + seconds
        while self.total < enough:
            assert time.monotonic() < deadline, (self.statuses, self.faults[:5])
            time.sleep(0.01)

    def summary(self) -> str:
        return (
            f"{self.total} answers {dict(self.statuses)} on {self._connections} connections, "
            f"{self.reconnects} new ones, longest {self.longest_seconds:.2f} s, "
            f"{len(self.faults)} faults {self.faults[:3]}"
        )

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._connections)))

    async def _client(self) -> None:
        while not self._is_over.is_set():
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    reader, writer = await asyncio.open_connection(self._host, self._port)
            except (OSError, TimeoutError) as error:
                self.faults.append(f"connect: {error!r}")
                await asyncio.sleep(0.05)
                continue
            try:
                await self._use(reader, writer)
            finally:
                writer.close()
            self.reconnects += 1

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = 0
        while not self._is_over.is_set():
            started = time.monotonic()
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    writer.write(self._request)
                    status, is_last = await _read_answer(reader)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                self.faults.append(f"{error!r} after {answers} answers")
                return
            answers += 1
            self.statuses[status] += 1
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)
            if is_last:
                return


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """The status, and whether the server closes now."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    lines = head.split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
    await reader.readexactly(int(headers.get(b"content-length", b"0")))
    return int(lines[0].split()[1]), headers.get(b"connection") == b"close"
