"""The ordinary HTTP/1.1 request, served without Hypercorn; all others are handed to it.

Ordinary is: it comes whole and soon, its head passes the checks of `framing`, llhttp
reads it as one message of exactly these bytes, its connection stays open, and it asks
for no upgrade, no chunks and no `100 Continue`. At the first request that is anything
else the connection goes over to Hypercorn's protocol for good, with every byte that
was not answered yet: refusing, waiting and dropping are that one's concern alone.

A request is read by two parsers that must agree, so neither's leniency hides a second
request inside of it.
"""

import asyncio
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote

import httptools
import structlog
from hypercorn.utils import parse_socket_addr

from novapulse.core.errors import Error
from novapulse.core.http import App
from novapulse.processes.answering import Answering
from novapulse.processes.connections import Connections, Stall, has_unread
from novapulse.processes.framing import MAX_HEAD_BYTES, check_head, merge
from novapulse.processes.protocol import Limits

MAX_BODY_BYTES = 65_536
# Segments of one request follow one another at once; who pauses for longer is watched elsewhere.
GRACE_SECONDS = 0.05
MAX_REQUESTS = 1_000_000
_MAX_WAITING_BYTES = MAX_HEAD_BYTES + MAX_BODY_BYTES
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"))
_UNUSUAL = (b"transfer-encoding", b"expect", b"upgrade")
_ASGI = {"version": "3.0", "spec_version": "2.1"}
log = structlog.get_logger("http")


class Unusual(Exception):
    """Not for this protocol."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all connections of a server share."""

    app: App
    limits: Limits
    connections: Connections
    is_ending: Callable[[], bool]
    hand_over: Callable[["LeanConnection", bytes], None]


class _Reading:
    """llhttp's account of one request."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.begin()

    def begin(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.has_head = False
        self.messages = 0

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.messages += 1


class LeanConnection(asyncio.Protocol):
    """One accepted connection, for as long as its requests are ordinary."""

    transport: asyncio.Transport

    def __init__(self, around: Surroundings, loop: asyncio.AbstractEventLoop) -> None:
        self._around = around
        self._loop = loop
        self._reading = _Reading()
        self._pending = b""
        self._answering: Answering | None = None
        self._is_ended = False  # by the client: nothing more comes
        self._is_held = False  # by us: it sends more than is answered
        self._is_deaf = False
        self._dropped = 0
        self._requests = 0
        self._idle_since = loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._grace: asyncio.TimerHandle | None = None
        self.can_write = asyncio.Event()
        self.can_write.set()
        self.is_lost = False

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._stall = Stall(self.transport, self._around.limits.stall_seconds)
        socket = transport.get_extra_info("socket")
        try:
            self._client = parse_socket_addr(socket.family, socket.getpeername())
            self._server = parse_socket_addr(socket.family, socket.getsockname())
        except OSError:
            transport.abort()  # type: ignore[attr-defined]  # a transport of a socket has it
            return
        self._around.connections.add(self)
        # Who connects and says nothing is given the time of a header only.
        self._timer = self._loop.call_later(
            self._around.limits.header_seconds, self.transport.close
        )

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            self._drop(len(data))
            return
        self._pending = self._pending + data if self._pending else data
        if self._answering is None:
            self._take()
        elif len(self._pending) > _MAX_WAITING_BYTES:
            self._is_held = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._is_ended = True
        if self._answering is not None:
            self._answering.leave()
            return True  # the answer is still to be sent
        if self._pending and not self._is_deaf:
            self._give_over()
            return True
        self._close()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self._stop_timers()
        self._around.connections.discard(self)
        self.can_write.set()
        if self._answering is not None:
            self._answering.leave()

    def pause_writing(self) -> None:
        self.can_write.clear()
        self._stall.watch()

    def resume_writing(self) -> None:
        self.can_write.set()
        if not self.transport.is_closing():
            self._stall.stop()

    # What the server asks for.

    def close_if_idle(self) -> None:
        """End a connection that nobody is waiting on."""
        is_idle = self._answering is None and not self._is_deaf
        if is_idle and not has_unread(self.transport):
            self._close()

    # One request.

    def _take(self) -> None:
        """Begin with the request that is waiting, if all of it is here."""
        try:
            scope = self._read()
        except (Unusual, Error, httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._give_over()
            return
        if scope is None:
            if self._grace is None:
                self._grace = self._loop.call_later(GRACE_SECONDS, self._give_over)
            return
        if self._grace is not None or self._requests == 0:
            self._stop_timers()
            self._watch_idleness(self._around.limits.idle_seconds)
        self._requests += 1
        answering = Answering(
            self,
            self._reading.body,
            is_head=scope["method"] == "HEAD",
            is_last=self._requests >= MAX_REQUESTS,
        )
        self._answering = answering
        if self._is_ended:
            answering.leave()
        answering.task = self._loop.create_task(self._answer(answering, scope))

    def _read(self) -> dict[str, Any] | None:
        """The next request's scope, taken off what is pending; None while a part is missing.

        Raises Unusual and what the two parsers raise; then nothing was taken.
        """
        data = self._pending
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            if len(data) > MAX_HEAD_BYTES:
                raise Unusual
            return None
        head = data[:end]
        check_head(head)
        method, _, _ = head.partition(b" ")
        if method not in _METHODS:
            raise Unusual
        reading = self._reading
        if not reading.has_head:
            reading.parser.feed_data(head)
            if len(reading.headers) != head.count(b"\n") - 2:
                raise Unusual
        headers = self._headers(reading)
        length = int(headers.get(b"content-length", b"0"))
        if length > min(MAX_BODY_BYTES, self._around.limits.max_body_bytes):
            raise Unusual
        whole = end + length
        if len(data) < whole:
            return None
        if length:
            reading.parser.feed_data(data[end:whole])
        if reading.messages != 1 or len(reading.body) != length:
            raise Unusual
        self._pending = data[whole:]
        return self._scope(method, reading.target, headers)

    def _headers(self, reading: _Reading) -> dict[bytes, bytes]:
        headers = dict(reading.headers)
        if len(headers) < len(reading.headers):
            headers = merge(reading.headers)
        for name in _UNUSUAL:
            if name in headers:
                raise Unusual
        if headers.get(b"connection", b"keep-alive").lower() != b"keep-alive":
            raise Unusual
        if reading.target[:1] != b"/" or reading.parser.get_http_version() != "1.1":
            raise Unusual
        return headers

    def _scope(self, method: bytes, target: bytes, headers: dict[bytes, bytes]) -> dict[str, Any]:
        path, _, query = target.partition(b"?")
        text = path.decode("ascii")
        return {
            "type": "http",
            "http_version": "1.1",
            "asgi": _ASGI,
            "method": method.decode("ascii"),
            "scheme": "http",
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(headers.items()),
            "client": self._client,
            "server": self._server,
            "state": {},
            "extensions": {},
        }

    async def _answer(self, answering: Answering, scope: MutableMapping[str, Any]) -> None:
        try:
            await self._around.app(scope, answering.receive, answering.send)
        except Exception:  # it is logged, and its client sees that the answer has no end
            log.exception("http.broken_off", route=scope["path"])
        self._done(answering)

    def _done(self, answering: Answering) -> None:
        self._answering = None
        if self.is_lost:
            return
        if not answering.is_complete:
            # Who reads nothing would never let an ordered end through.
            self.transport.abort()
        elif answering.is_last or self._around.is_ending():
            self._end()
        else:
            self._go_on()

    def _go_on(self) -> None:
        """To the next request, which may have come already."""
        self._reading.begin()
        self._idle_since = self._loop.time()
        if self._pending:
            self._take()
        elif self._is_ended:
            self._close()
        if self._is_held and len(self._pending) <= _MAX_WAITING_BYTES:
            self._is_held = False
            self.transport.resume_reading()
        if self._is_ended and self._pending and self._answering is None:
            self._give_over()

    # The end.

    def _end(self) -> None:
        """Close; but with bytes unread that would reset the connection and lose the answer."""
        if not self._pending or self._is_ended:
            self._close()
            return
        self._is_deaf = True
        self._stop_timers()
        self._timer = self._loop.call_later(self._around.limits.drop_seconds, self._close)
        self._drop(len(self._pending))
        self._pending = b""
        if self._is_held:
            self.transport.resume_reading()
        self.transport.write_eof()

    def _close(self) -> None:
        self.transport.close()
        self._stall.watch()

    def _drop(self, size: int) -> None:
        self._dropped += size
        if self._dropped > self._around.limits.drop_bytes:
            self._close()

    def _watch_idleness(self, seconds: float) -> None:
        """Look again in `seconds`; a timer for every request would cost more than it tells."""
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        limit = self._around.limits.idle_seconds
        if self._answering is not None or self._pending:
            self._watch_idleness(limit)
            return
        left = self._idle_since + limit - self._loop.time()
        if left <= 0:
            self._close()
        else:
            self._watch_idleness(left)

    def _give_over(self) -> None:
        """To Hypercorn's protocol, with what is not answered yet."""
        pending, self._pending = self._pending, b""
        self._stop_timers()
        if self.transport.is_closing():
            return
        self._around.connections.discard(self)
        if self._is_held:
            self._is_held = False
            self.transport.resume_reading()
        self._around.hand_over(self, pending)

    @property
    def is_ended(self) -> bool:
        """Whether the client has ended its half."""
        return self._is_ended

    def _stop_timers(self) -> None:
        self._stall.stop()
        for timer in (self._timer, self._grace):
            if timer is not None:
                timer.cancel()
        self._timer = self._grace = None
