"""The open connections of a server, and when there are none any more."""

import asyncio
import select
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol


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
