"""Hypercorn on an inherited socket, with a drain that loses no request.

Hypercorn's own `serve` drops keep-alive requests when it stops and takes no
account of open connections. Here its connection protocol runs in our accept
loop: stop accepting, ask every client to close with its next answer, give
them a moment to do so, then close what is idle and wait for what is not.
"""

import asyncio
import socket

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from novapulse.core.http import Gate
from novapulse.processes.connections import Connections
from novapulse.processes.lean import LeanConnection, Surroundings
from novapulse.processes.protocol import Limits, StrictServer

LINGER_SECONDS = 1.0
_BACKLOG = 1024


class Server:
    def __init__(self, gate: Gate, limits: Limits) -> None:
        self._gate = gate
        self._limits = limits
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
            self._lean, sock=listener, backlog=_BACKLOG
        )

    def _lean(self) -> LeanConnection:
        return LeanConnection(self._around, asyncio.get_running_loop())

    def _hand_over(self, lean: LeanConnection, pending: bytes) -> None:
        """Let Hypercorn's protocol go on, as if it had read `pending` itself."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, self._serve, loop=loop)
        lean.transport.set_protocol(protocol)
        protocol.connection_made(lean.transport)
        if not lean.can_write.is_set():
            protocol.pause_writing()
        reader.feed_data(pending)
        if lean.is_ended:
            reader.feed_eof()

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
        await self._accept_waiting()
        if self._listener is not None:
            self._listener.close()
        await self._connections.until_none(min(LINGER_SECONDS, seconds))
        await self._context.terminated.set()
        for connection in self._connections:
            connection.close_if_idle()
        await self._connections.until_none(seconds - LINGER_SECONDS)

    async def _accept_waiting(self) -> None:
        """Take who connected before we close: the kernel would reset them with the last socket."""
        loop = asyncio.get_running_loop()
        while self._socket is not None:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # nobody is waiting (any more)
                return
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._lean, connection)
