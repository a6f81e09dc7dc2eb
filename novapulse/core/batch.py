"""Group commit: many callers, one write. While a batch is written, the next one fills."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Batcher(Generic[Item]):
    """Gathers items and hands them to `write` at most `max_items` at a time.

    `add` returns when its item is written and raises what its batch raised.
    An idle batcher writes at once: batches only form under load.
    """

    def __init__(
        self, write: Callable[[Sequence[Item]], Awaitable[None]], *, max_items: int = 500
    ) -> None:
        self._write = write
        self._max_items = max_items
        self._waiting: list[tuple[Item, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, item: Item) -> asyncio.Future[None]:
        """A future that is done once the item is written."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        self._waiting.append((item, written))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._drain())
        return written

    async def _drain(self) -> None:
        while self._waiting:
            batch = self._waiting[: self._max_items]
            del self._waiting[: self._max_items]
            try:
                await self._write([item for item, _ in batch])
            except Exception as error:  # whatever it is, it belongs to those who wait
                _settle(batch, error)
            else:
                _settle(batch, None)

    async def close(self) -> None:
        """Write what is left."""
        if self._task is not None:
            await self._task


def _settle(batch: Sequence[tuple[Item, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, written in batch:
        if written.cancelled():
            continue
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)
