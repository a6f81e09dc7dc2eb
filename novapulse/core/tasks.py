"""Ending tasks, as surely as the loop allows."""

import asyncio
from collections.abc import Iterable
from typing import Any

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
