"""One request's ASGI channels: what the application asks for, and its answer as bytes."""

import asyncio
import time
from collections.abc import Iterable, MutableMapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Protocol

_BODILESS = (204, 304)
_STATUS_LINES = {int(one): b"HTTP/1.1 %d %b" % (one, one.phrase.encode()) for one in HTTPStatus}
_END_OF_CHUNKS = b"0\r\n\r\n"


class Out(Protocol):
    """Where the bytes go, and whether they may."""

    transport: asyncio.Transport
    can_write: asyncio.Event
    is_lost: bool


class _Date:
    """The Date header's line, made once a second."""

    second = 0
    line = b""


def _date_line() -> bytes:
    now = int(time.time())
    if now != _Date.second:
        _Date.second, _Date.line = now, b"date: " + formatdate(now, usegmt=True).encode()
    return _Date.line


class Answering:
    """A request that is whole and its answer, which is complete or must not look so."""

    __slots__ = (
        *("_body", "_gone", "_head", "_has_started", "_is_bodiless", "_is_chunked", "_is_gone"),
        *("_is_head", "_is_taken", "_left", "_out", "is_complete", "is_last", "task"),
    )

    def __init__(self, out: Out, body: bytes, *, is_head: bool, is_last: bool) -> None:
        self._out = out
        self._body = body
        self._is_head = is_head
        self._is_taken = self._is_gone = False
        self._gone: asyncio.Event | None = None
        self._has_started = self._is_bodiless = self._is_chunked = False
        self._head: list[bytes] = []  # until it is written, with the first bytes of the body
        self._left: int | None = None  # of the Content-Length
        self.is_complete = False
        self.is_last = is_last
        self.task: asyncio.Task[None] | None = None  # a loop keeps none alive

    def leave(self) -> None:
        """The client has gone, or ended its half."""
        self._is_gone = True
        if self._gone is not None:
            self._gone.set()

    async def receive(self) -> MutableMapping[str, Any]:
        if not self._is_taken:
            self._is_taken = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        if not self._is_gone:
            if self._gone is None:
                self._gone = asyncio.Event()
            await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take the answer's next part; returns when the client has room for another one."""
        if message["type"] == "http.response.start":
            self._start(message["status"], message["headers"])
            return
        if not self._has_started or self.is_complete:
            raise RuntimeError("a body belongs behind its head, and ends once")
        is_end = not message.get("more_body", False)
        data = self._framed(message.get("body", b""), is_end=is_end)
        out = self._out
        if out.is_lost or out.transport.is_closing():
            await asyncio.sleep(0)  # who goes on sending gets to see that nobody is there
        elif data:
            out.transport.write(data)
        if not out.can_write.is_set():
            await out.can_write.wait()
        self.is_complete = is_end

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if self._has_started:
            raise RuntimeError("an answer has one head")
        self._has_started = True
        self._is_bodiless = self._is_head or status in _BODILESS
        lines = [_STATUS_LINES[status]]
        for name, value in headers:
            if name == b"content-length":
                self._left = int(value)
            elif name == b"connection" and value == b"close":
                self.is_last = True
                continue
            lines.append(name + b": " + value)
        lines.append(_date_line())
        if self.is_last:
            lines.append(b"connection: close")
        if self._left is None and status not in _BODILESS:
            self._is_chunked = True
        self._head = lines

    def _framed(self, body: bytes, *, is_end: bool) -> bytes:
        """The bytes to write for this part of the body, with the head before its first."""
        head = b""
        if self._head:
            if self._is_chunked and is_end and not self._is_head:
                self._is_chunked, self._left = False, len(body)
                self._head.append(b"content-length: %d" % len(body))
            elif self._is_chunked:
                self._head.append(b"transfer-encoding: chunked")
            head = _joined(self._head)
            self._head = []
        if self._is_bodiless:
            return head
        if self._is_chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return head + chunk + (_END_OF_CHUNKS if is_end else b"")
        assert self._left is not None  # noqa: S101  # what is not in chunks has a length
        self._left -= len(body)
        if self._left < 0 or (is_end and self._left):
            raise RuntimeError("the body is not as long as its Content-Length")
        return head + body


def _joined(lines: list[bytes]) -> bytes:
    head = b"\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise ValueError("a header's value has a line break in it")
    return head + b"\r\n\r\n"
