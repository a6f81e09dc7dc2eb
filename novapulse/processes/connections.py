"""The open connections of a server, how long one may stall, and when there are none any more."""

import asyncio
import select
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol, cast

# Who takes less in the time of a stall is not reading; large answers may take many times as long.
LEAST_BYTES = 65_536


class Connection(Protocol):
    def close_if_idle(self) -> None:
        """End it, unless somebody is waiting on it."""


def has_unread(transport: asyncio.BaseTransport) -> bool:
    """Whether bytes have come that the loop has not read yet.

    To close over them would reset the connection: a request that was sent in time is no idleness.
    """
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor < 0:
        return False
    coming = select.poll()
    coming.register(descriptor, select.POLLIN)
    return bool(coming.poll(0))


class Stall:
    """Ends a connection whose client does not take what waits for it in our buffer."""

    __slots__ = ("_seconds", "_timer", "_transport")

    def __init__(self, transport: asyncio.WriteTransport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """From now on, if anything waits: while writing is paused, or to be closed."""
        self.stop()
        if left := self._left():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self._look, left)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _left(self) -> int:
        # A TLS transport that is gone has no protocol to ask any more.
        with suppress(AttributeError):
            return self._transport.get_write_buffer_size()
        return 0

    def _look(self, before: int) -> None:
        left = self._left()
        if left and before - left < LEAST_BYTES:
            # Python 3.11.2 and before fail to abort a TLS connection that is gone.
            with suppress(AttributeError):
                self._transport.abort()
        else:
            self.watch()


class WatchedStream(asyncio.StreamReaderProtocol):
    """Has no writer wait for ever for a client that does not read."""

    def __init__(self, *arguments: Any, stall_seconds: float, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._stall_seconds = stall_seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._stall = Stall(cast(asyncio.WriteTransport, transport), self._stall_seconds)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._stall.stop()
        super().connection_lost(error)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall.watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stall.stop()


class Connections:
    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    def add(self, connection: Connection) -> None:
        self._open.add(connection)
        self._is_empty.clear()

    def discard(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._is_empty.set()

    async def until_none(self, seconds: float) -> None:
        """Wait for all of them to end, for at most `seconds`."""
        if self._open and seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_empty.wait(), seconds)
