"""Hypercorn on an inherited socket, with a drain that loses no request.

Hypercorn's own `serve` drops keep-alive requests when it stops and takes no
account of open connections. Here its connection protocol runs in our accept
loop: stop accepting, ask every client to close with its next answer, give
them a moment to do so, then close what is idle and wait for what is not.
"""

import asyncio
import socket

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from novapulse.core.http import Gate

LINGER_SECONDS = 1.0
_BACKLOG = 1024


class Server:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._wrapped = ASGIWrapper(gate)  # type: ignore[arg-type]  # ASGI, but not as typed dicts
        self._context = WorkerContext(None)
        self._config = Config()
        self._config.accesslog = None
        self._config.keep_alive_timeout = 75.0
        self._config.keep_alive_max_requests = 1_000_000
        self._config.include_server_header = False
        self._connections: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on `listener`, which the caller bound."""
        self._listener = await asyncio.start_server(
            self._connected, sock=listener, backlog=_BACKLOG
        )

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a stream callback always is a task
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        loop = asyncio.get_running_loop()
        await TCPServer(self._wrapped, loop, self._config, self._context, {}, reader, writer)

    async def drain(self, *, seconds: float) -> None:
        """Stop accepting and let every request in flight finish, for at most `seconds`."""
        if self._listener is not None:
            self._listener.close()
        self._gate.is_draining = True
        await self._wait(min(LINGER_SECONDS, seconds))
        await self._context.terminated.set()
        await self._wait(seconds - LINGER_SECONDS)

    async def _wait(self, seconds: float) -> None:
        if self._connections and seconds > 0:
            await asyncio.wait(self._connections, timeout=seconds)
