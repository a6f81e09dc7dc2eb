"""Hypercorn on an inherited socket, with a drain that loses no request.

Hypercorn's own `serve` drops keep-alive requests when it stops and takes no
account of open connections. Here its connection protocol runs in our accept
loop: stop accepting, ask every client to close with its next answer, give
them a moment to do so, then close what is idle and wait for what is not.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from novapulse.core.http import Gate
from novapulse.processes.connections import Connections, WatchedStream
from novapulse.processes.lean import LeanConnection, Surroundings
from novapulse.processes.protocol import Limits, StrictServer
from novapulse.processes.tls import Handshake

LINGER_SECONDS = 1.0
_BACKLOG = 1024
# One for the transport, one for its protocol to hear of it, one to spare.
_TURNS_TO_ACCEPT = 3
_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


class Server:
    def __init__(self, gate: Gate, limits: Limits, *, tls: ssl.SSLContext | None = None) -> None:
        self._gate = gate
        self._limits = limits
        self._tls = tls
        # With TLS all goes Hypercorn's way. Who does not shake hands gets the time of a header.
        self._accepted: Callable[[], asyncio.BaseProtocol] = self._lean
        self._how: dict[str, Any] = {}
        if tls is not None:
            self._accepted = self._shaking
            self._how = {"ssl": tls, "ssl_handshake_timeout": limits.header_seconds}
        self._wrapped = ASGIWrapper(gate)  # type: ignore[arg-type]  # ASGI, but not as typed dicts
        self._context = WorkerContext(None)
        self._config = Config()
        self._config.accesslog = None
        self._config.keep_alive_max_requests = 1_000_000
        self._config.include_server_header = False
        # Unbounded: the protocol counts the body, and a full queue would hold up its reading.
        self._config.max_app_queue_size = 0
        self._connections = Connections()
        self._listener: asyncio.Server | None = None
        self._socket: socket.socket | None = None

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on `listener`, which the caller bound."""
        self._socket = listener
        self._around = Surroundings(
            app=self._gate,
            limits=self._limits,
            connections=self._connections,
            is_ending=self._context.terminated.is_set,
            hand_over=self._hand_over,
        )
        self._listener = await asyncio.get_running_loop().create_server(
            self._accepted, sock=listener, backlog=_BACKLOG, **self._how
        )

    def _lean(self) -> LeanConnection:
        return LeanConnection(self._around, asyncio.get_running_loop())

    def _shaking(self) -> asyncio.StreamReaderProtocol:
        """Counted from here on, so that a drain waits for those who are just connecting."""
        loop = asyncio.get_running_loop()
        shaking = Handshake(self._connections.discard)
        self._connections.add(shaking)
        loop.call_later(self._limits.header_seconds, shaking.end)

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._serve(reader, writer)
            shaking.end()

        return self._stream(asyncio.StreamReader(loop=loop), serve)

    def _hand_over(self, lean: LeanConnection, pending: bytes) -> None:
        """Let Hypercorn's protocol go on, as if it had read `pending` itself."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = self._stream(reader, self._serve)
        lean.transport.set_protocol(protocol)
        protocol.connection_made(lean.transport)
        if not lean.can_write.is_set():
            protocol.pause_writing()
        reader.feed_data(pending)
        if lean.is_ended:
            reader.feed_eof()

    def _stream(self, reader: asyncio.StreamReader, serve: _Serve) -> WatchedStream:
        loop, seconds = asyncio.get_running_loop(), self._limits.stall_seconds
        return WatchedStream(reader, serve, loop=loop, stall_seconds=seconds)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        connection = StrictServer(
            *(self._wrapped, loop, self._config, self._context, {}),
            *(reader, writer),
            limits=self._limits,
        )
        self._connections.add(connection)
        connection.task = loop.create_task(connection.run())
        connection.task.add_done_callback(lambda _: self._connections.discard(connection))

    async def drain(self, *, seconds: float) -> None:
        """Stop accepting and let every request in flight finish, for at most `seconds`."""
        self._gate.is_draining = True
        await self._stop_accepting()
        await self._connections.until_none(min(LINGER_SECONDS, seconds))
        await self._context.terminated.set()
        for connection in self._connections:
            connection.close_if_idle()
        await self._connections.until_none(seconds - LINGER_SECONDS)

    async def _stop_accepting(self) -> None:
        """Take who connected before we close: the kernel would reset them with the last socket.

        asyncio drops whom its listener has accepted and not yet given a transport when it
        is closed; so it accepts no more first, and is given the turns to finish those.
        """
        listener, self._listener = self._listener, None
        if self._socket is None or listener is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        for _ in range(_TURNS_TO_ACCEPT):
            await asyncio.sleep(0)
        shaking: set[asyncio.Task[object]] = set()
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # nobody is waiting (any more)
                break
            connection.setblocking(False)
            accepting = loop.connect_accepted_socket(self._accepted, connection, **self._how)
            if self._tls is None:
                await accepting
            else:
                shaking.add(loop.create_task(accepting))
        listener.close()
        with suppress(TimeoutError):
            shaken = asyncio.gather(*shaking, return_exceptions=True)
            await asyncio.wait_for(shaken, LINGER_SECONDS)
