"""One HTTP/1 connection, stricter than Hypercorn's and h11's own.

What proxies and servers have read differently is refused with 400 before h11
parses it: two lengths, odd whitespace, bare line feeds, folded lines, trailers.
Sizes and times are bounded however the bytes are cut into segments. An upgrade
(HTTP/2 in clear text, WebSocket) is ignored and answered as HTTP/1.1; a
connection that begins with HTTP/2's preface is refused as any other version.

Once an answer has begun before its request was complete, the rest of the
request means nothing any more: the connection turns deaf, drops what still
comes for a moment, so that the client gets to see the answer, and closes.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any

import h11
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Body, EndBody, Request, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import ConnectionState, H11SendableEvent
from hypercorn.utils import parse_socket_addr

from novapulse.core import http
from novapulse.core.errors import Error, Malformed, TooSlow
from novapulse.core.streaming import STALL_SECONDS
from novapulse.processes.connections import Stall, has_unread
from novapulse.processes.framing import (
    ChunkLines,
    check_head,
    check_part_of_head,
    merge,
    origin_form,
)

_CLOSE = (b"connection", b"close")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one connection may take of our memory and time."""

    max_body_bytes: int = 1_048_576
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 75.0
    stall_seconds: float = STALL_SECONDS
    drop_seconds: float = 2.0
    drop_bytes: int = 4_194_304


class _Wait(Enum):
    """What the client owes us, and so how long we wait for it."""

    NOTHING = "nothing"
    REQUEST = "request"
    HEADER = "header"
    BODY = "body"


class StrictProtocol(H11Protocol):
    """Bytes in, ASGI messages on, bytes out; never more than one request at a time."""

    connection: h11.Connection
    stream: HTTPStream | None

    def __init__(self, *arguments: Any, limits: Limits) -> None:
        super().__init__(*arguments)
        self.is_deaf = False
        self.is_cut_short = False
        self._limits = limits
        self._is_over = False
        self._chunks: ChunkLines | None = None
        self._body = bytearray()
        self._body_bytes = 0
        self._head = b""
        # Who connects and says nothing is given the time of a header only.
        self._has_begun = True
        self._wait = _Wait.NOTHING
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request is being read, worked on or answered."""
        return self.connection.their_state is h11.IDLE and not self.is_deaf

    async def initiate(self) -> None:
        self._watch()

    def stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def handle(self, event: Event) -> None:
        """Bytes that came (none at the end of the stream), or that the connection is gone."""
        if isinstance(event, RawData):
            if self._is_over:
                return
            try:
                if self._chunks is not None:
                    self._chunks.feed(event.data)
                self.connection.receive_data(event.data)
                await self._handle_events()
            except Error as error:
                await self._refuse(error)
            except h11.RemoteProtocolError as error:
                await self._refuse(Malformed(f"This is not HTTP/1.1: {error}"))
            self._watch()
        elif isinstance(event, Closed):
            await self._close_stream()

    async def _handle_events(self) -> None:
        while not self.is_deaf and not self._is_over:
            state = self.connection.their_state
            if state is h11.IDLE and not self._has_whole_head():
                return
            if state is h11.MUST_CLOSE:
                # What follows a last request is no request, and no reason to leave it unanswered.
                self.is_deaf = bool(self.connection.trailing_data[0])
                return
            event = self.connection.next_event()
            if type(event) is h11.Request:
                await self._begin(event)
            elif type(event) is h11.Data:
                await self._gather(event.data)
            elif type(event) is h11.EndOfMessage:
                await self._end_body()
            elif event is h11.PAUSED:
                await self._pass_on()
                self._watch()  # until the answer is there the client owes nothing
                await self.can_read.clear()
                await self.can_read.wait()
            else:
                await self._pass_on()
                return

    def _has_whole_head(self) -> bool:
        """Whether h11 may read a head; what it must not see raises."""
        data, is_all = self.connection.trailing_data
        self._has_begun = bool(data)
        if not data:
            return False
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            check_part_of_head(data)
            if is_all:
                raise Malformed("The header is not complete")
            return False
        check_head(data[:end])
        return True

    async def _begin(self, request: h11.Request) -> None:
        headers = [(name.lower(), value) for name, value in request.headers.raw_items()]
        merged = dict(headers)
        if len(merged) < len(headers):
            merged = merge(headers)
        target, host = origin_form(request.target)
        if host is not None:
            merged[b"host"] = host
        self._body.clear()
        self._body_bytes = 0
        self._chunks = None
        if b"transfer-encoding" in merged:
            self._chunks = ChunkLines()
            self._chunks.feed(self.connection.trailing_data[0])
        await self._open_stream(request, target, headers=list(merged.items()))
        length = int(merged.get(b"content-length", b"0"))
        # Nobody should be asked for what will not be read.
        is_wanted = length <= self._limits.max_body_bytes
        if is_wanted and self.connection.they_are_waiting_for_100_continue:
            await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))

    async def _open_stream(
        self, request: h11.Request, target: bytes, *, headers: list[tuple[bytes, bytes]]
    ) -> None:
        self.stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        self.keep_alive_requests += 1
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=headers,
                http_version=request.http_version.decode(),
                method=request.method.decode(),
                raw_path=target,
                state=self.connection_state,
            )
        )

    async def _gather(self, data: bytes) -> None:
        """Keep it until all that came at once is read: chunks may be of one byte each."""
        self._body += data
        self._body_bytes += len(data)
        if self._body_bytes > self._limits.max_body_bytes:
            # The application sees that it is too much; the rest is not its concern.
            await self._pass_on()
            self.is_deaf = True

    async def _pass_on(self) -> None:
        if self._body and self.stream is not None:
            body, self._body = self._body, bytearray()
            await self.stream.handle(Body(stream_id=STREAM_ID, data=bytes(body)))

    async def _end_body(self) -> None:
        await self._pass_on()
        if self.stream is not None:
            await self.stream.handle(EndBody(stream_id=STREAM_ID))

    async def stream_send(self, event: StreamEvent) -> None:
        """What the application answers."""
        if self._is_over:
            return
        if isinstance(event, Response) and self.connection.their_state is h11.SEND_BODY:
            self.is_deaf = True
            self._watch()
            if _CLOSE not in event.headers:
                event.headers.append(_CLOSE)
        await super().stream_send(event)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        """Write it; a head waits for the first bytes of its body, to save a packet."""
        data = self._head + self.connection.send(event)
        if type(event) is h11.Response:
            self._head = data
        elif data:
            self._head = b""
            await self.send(RawData(data))

    async def _maybe_recycle(self) -> None:
        """The answer is complete: on to the next request, or the end."""
        await self._close_stream()
        connection = self.connection
        self.is_cut_short = connection.our_state is h11.SEND_BODY
        is_done = connection.our_state is h11.DONE and connection.their_state is h11.DONE
        if is_done and not self.is_deaf and not self.context.terminated.is_set():
            connection.start_next_cycle()
            self._has_begun = False
            self._watch()
            await self.can_read.set()
        else:
            await self._finish()

    async def _refuse(self, error: Error) -> None:
        """Answer in the application's place, and end the connection."""
        stream, self.stream = self.stream, None
        is_unanswered = self.connection.our_state in (h11.IDLE, h11.SEND_RESPONSE)
        self.is_deaf = self._is_over = True
        if is_unanswered:
            status, headers, body = http.refusal(error)
            headers += [_CLOSE, *self.config.response_headers("h11")]
            fields = b"".join(b"%b: %b\r\n" % field for field in headers)
            line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
            is_head = stream is not None and stream.scope["method"] == "HEAD"
            await self.send(RawData(line + fields + b"\r\n" + (b"" if is_head else body)))
        if stream is not None:
            await stream.handle(StreamClosed(stream_id=STREAM_ID))
        await self._finish()

    async def _finish(self) -> None:
        self._is_over = True
        self._watch()
        await self.can_read.set()
        await self.send(Closed())

    def _watch(self) -> None:
        """Set the deadline for what the client owes us now, unless it runs already."""
        wait = self._owed()
        if wait is self._wait:
            return
        self._wait = wait
        self.stop_watching()
        if wait is not _Wait.NOTHING:
            loop = asyncio.get_running_loop()
            seconds = {
                _Wait.REQUEST: self._limits.idle_seconds,
                _Wait.HEADER: self._limits.header_seconds,
                _Wait.BODY: self._limits.body_seconds,
            }[wait]
            self._timer = loop.call_later(seconds, self.task_group.spawn, self._give_up, wait)

    def _owed(self) -> _Wait:
        state = self.connection.their_state
        if self.is_deaf or self._is_over:
            return _Wait.NOTHING
        if state is h11.IDLE:
            return _Wait.HEADER if self._has_begun else _Wait.REQUEST
        return _Wait.BODY if state is h11.SEND_BODY else _Wait.NOTHING

    async def _give_up(self, wait: _Wait) -> None:
        if wait is not self._wait:
            return  # it came at the last moment
        if self.connection.their_state is h11.IDLE and not self.connection.trailing_data[0]:
            await self._finish()
        else:
            await self._refuse(TooSlow(f"The {wait.value} did not come in time"))


class StrictServer(TCPServer):
    """One accepted connection: reads for its protocol, writes, drops and closes."""

    def __init__(self, *arguments: Any, limits: Limits) -> None:
        super().__init__(*arguments)
        self._limits = limits
        self._stall = Stall(self.writer.transport, limits.stall_seconds)
        self._http: StrictProtocol | None = None
        self.task: asyncio.Task[None] | None = None  # a loop keeps none alive
        self._cut: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        socket = self.writer.get_extra_info("socket")
        try:
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
            async with TaskGroup(self.loop) as group:
                surroundings = (self.app, self.config, self.context, group)
                state = ConnectionState(self.state)
                is_tls = self.writer.get_extra_info("ssl_object") is not None
                addresses = (is_tls, client, server)
                self._http = StrictProtocol(
                    *surroundings, state, *addresses, self.protocol_send, limits=self._limits
                )
                await self._http.initiate()
                await self._read(self._http)
        except OSError:
            pass  # it was gone before it began
        finally:
            if self._http is not None:
                self._http.stop_watching()
            if self._cut is not None:
                self._cut.cancel()
            await self._close()

    async def _read(self, protocol: StrictProtocol) -> None:
        """Until the client closes, or for as long as it is worth while to drop what comes."""
        dropped = 0
        data = b"-"
        while data and dropped <= self._limits.drop_bytes:
            try:
                data = await self.reader.read(MAX_RECV)
            except OSError:
                break
            if protocol.is_deaf:
                dropped += len(data)
            else:
                await protocol.handle(RawData(data))
        await protocol.handle(Closed())

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            async with self.send_lock:
                with suppress(ConnectionError, RuntimeError):  # reading will find out
                    if not self.writer.is_closing():
                        self.writer.write(event.data)
                        await self.writer.drain()
        elif self._http is not None and self._http.is_cut_short:
            # Who reads nothing would never let an ordered end through. Python 3.11.2 and before
            # fail to abort a TLS connection that is gone.
            with suppress(AttributeError):
                self.writer.transport.abort()
        elif self._http is not None and self._http.is_deaf:
            self._end_answer()
        else:
            await self._close()

    def _end_answer(self) -> None:
        """Close our half. To close all with bytes unread would reset it, and lose the answer."""
        if self._cut is None:
            self._stall.watch()
            with suppress(OSError, RuntimeError):
                self.writer.write_eof()
            self._cut = self.loop.call_later(self._limits.drop_seconds, self.writer.close)

    async def _close(self) -> None:
        self._stall.watch()
        with suppress(OSError):  # with TLS its end may time out, too
            await super()._close()

    def close_if_idle(self) -> None:
        """End a connection that nobody is waiting on."""
        is_idle = self._http is not None and self._http.is_idle
        if is_idle and not has_unread(self.writer.transport):
            self.writer.close()
            self._stall.watch()
