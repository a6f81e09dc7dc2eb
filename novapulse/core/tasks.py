"""Beginning coroutines at once, and ending tasks as surely as the loop allows."""

import asyncio
from collections.abc import Coroutine, Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
_AGAIN_SECONDS = 0.2


async def end_all(tasks: Iterable[asyncio.Task[Any]], *, within_seconds: float = 1.0) -> None:
    """Cancel and wait until all have ended; what they raised stays with them.

    One cancellation is not enough: it gets lost when it arrives while a driver
    connects, so it is repeated. Bounded, because closing a connection to a
    server that hangs must not hold up an exit.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_seconds
    pending = {task for task in tasks if not task.done()}
    while pending and loop.time() < deadline:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_SECONDS)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` whose Ctrl-C is not lost; for what only reads.

    asyncio turns it into one cancellation, and with Python 3.11 a driver that has just sent its
    question does not hear of it (`asyncio.wait_for` returns the result instead).
    """
    is_interrupted = False

    async def main() -> T:
        nonlocal is_interrupted
        try:
            return await coroutine
        finally:
            task = asyncio.current_task()
            is_interrupted = task is not None and task.cancelling() > 0

    result = asyncio.run(main())
    if is_interrupted:
        raise KeyboardInterrupt
    return result


def begin(coroutine: Coroutine[Any, Any, object]) -> "_Rest | None":
    """Run it in the current task up to where it first waits; what is left, to be awaited.

    None for one that never waits: its caller is spared a timer, and all else that
    only a wait needs. What it raises on the way is raised here.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration:
        return None
    return _Rest(coroutine, waits_for)


class _Rest:
    """A coroutine that has begun, and what it waits for now."""

    def __init__(self, coroutine: Coroutine[Any, Any, object], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        try:
            while True:
                try:
                    sent = yield waits_for
                except BaseException as error:  # a cancellation, too, is the coroutine's to hear
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(sent)
        except StopIteration:
            return
