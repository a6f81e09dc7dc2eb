"""A client outside that asks at a steady pace, whatever becomes of the answers.

Unlike a client that waits for each answer before it asks again, it does not ask less when
the program is slow: what a pause costs is seen in full.
"""

import asyncio
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

_END_SECONDS = 60.0
_ANSWER_SECONDS = 20.0
# Asked over and over: two reads and a write. A write leads to far more than a read does (an event,
# a job, a delivery), and there are machines that bear only some of them a second.
_READS_BETWEEN_WRITES = int(os.environ.get("CHAOS_READS", "2"))
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; `status` is 0 when no answer came, and `answer` says why."""

    number: int
    at: float
    seconds: float
    status: int
    answer: dict[str, Any]
    retry_after: str = ""

    @property
    def is_write(self) -> bool:
        return self.number % (_READS_BETWEEN_WRITES + 1) == 0


class PacedLoad:
    """From `with` to its end, on a thread of its own: lists tasks and creates new ones.

    A write is repeated under its Idempotency-Key until it is answered 201; `accepted` maps the
    number of each to the id that it was answered with.
    """

    def __init__(
        self,
        address: str,
        headers: dict[str, str],
        *,
        per_second: float,
        again: bool = True,
        label: str = "paced",
    ) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._headers = {"Host": address, **headers}
        self._pause = 1.0 / per_second
        self._again = again
        self._label = label
        self._idle: list[Stream] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._is_over = threading.Event()
        self.asked: list[Asked] = []
        self.accepted: dict[int, str] = {}
        # How late the client itself was: on a busy machine a part of every figure is ours.
        self.latest_seconds = 0.0

    def __enter__(self) -> "PacedLoad":
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

    def since(self, began: float, until: float = float("inf")) -> list[Asked]:
        """The requests that were sent in this span of `time.monotonic`."""
        return [one for one in list(self.asked) if began <= one.at < until]

    def summary(self, rows: list[Asked] | None = None) -> str:
        rows = self.asked if rows is None else rows
        slowest = sorted(one.seconds for one in rows) or [0.0]
        statuses = dict(Counter(one.status for one in rows))
        return (
            f"{len(rows)} requests {statuses}, p50 {slowest[len(slowest) // 2] * 1000:.0f} ms, "
            f"p99 {slowest[int(len(slowest) * 0.99)] * 1000:.0f} ms, "
            f"longest {slowest[-1] * 1000:.0f} ms"
        )

    def wait_for(self, condition: Callable[[], bool], *, seconds: float) -> float:
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, self.summary(self.asked[-500:])
            time.sleep(0.01)
        return time.monotonic() - began

    async def _run(self) -> None:
        running: set[asyncio.Task[None]] = set()
        due, number = time.monotonic(), 0
        while not self._is_over.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.latest_seconds = max(self.latest_seconds, time.monotonic() - due)
            task = asyncio.create_task(self._one(number))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
            due += self._pause
        if running:
            # What is never accepted would be asked for ever; the test sees that it is missing.
            _, late = await asyncio.wait(running, timeout=_END_SECONDS)
            for task in late:
                task.cancel()
        for _, writer in self._idle:
            writer.close()

    async def _one(self, number: int) -> None:
        is_write = number % (_READS_BETWEEN_WRITES + 1) == 0
        while True:
            asked = await self._ask(number, self._request(number) if is_write else self._request())
            self.asked.append(asked)
            if is_write and asked.status == 201:
                self.accepted[number] = asked.answer["id"]
            if not is_write or asked.status == 201 or not self._again:
                return
            await asyncio.sleep(0.2)

    def _request(self, number: int | None = None) -> bytes:
        headers, body = dict(self._headers), b""
        if number is not None:
            body = json.dumps({"title": f"{self._label} {number}"}).encode()
            headers["Idempotency-Key"] = f"{self._label}-{number}"
            headers["Content-Type"] = "application/json"
            headers["Content-Length"] = str(len(body))
        first = "GET /api/v1/tasks?limit=5" if number is None else "POST /api/v1/tasks"
        lines = [f"{first} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body

    async def _ask(self, number: int, request: bytes) -> Asked:
        sent = time.monotonic()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                status, headers, body, stream = await self._exchange(request)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            return Asked(number, sent, time.monotonic() - sent, 0, {"error": repr(error)})
        seconds = time.monotonic() - sent
        if headers.get("connection") == "close":
            stream[1].close()
        else:
            self._idle.append(stream)
        asked = Asked(number, sent, seconds, status, {}, headers.get("retry-after", ""))
        if status < 400 and not asked.is_write:
            return asked
        return replace(asked, answer=json.loads(body))

    async def _exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes, Stream]:
        """A kept connection may have been closed meanwhile: then, and only then, a new one."""
        while self._idle:
            stream = self._idle.pop()
            if not stream[0].at_eof():
                break
            stream[1].close()
        else:
            stream = await asyncio.open_connection(self._host, self._port)
        reader, writer = stream
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            first, *lines = head.split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines if ": " in line)
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        except BaseException:
            writer.close()
            raise
        return int(first.split()[1]), headers, body, stream
