"""A use case once more, where another transaction got in between."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from novapulse.core.errors import TransientConflict

MAX_TRIES = 8


async def repeated(use_case: Callable[[], Awaitable[None]]) -> None:
    """Run it until it meets nobody; raises TransientConflict at last."""
    for attempt in range(1, MAX_TRIES + 1):
        try:
            await use_case()
            return
        except TransientConflict:
            if attempt == MAX_TRIES:
                raise
            await asyncio.sleep(pause_seconds(attempt))


def pause_seconds(attempt: int) -> float:
    """Whoever met here must not meet again: the wait is drawn, not fixed."""
    return random.uniform(0, 0.005 * 2**attempt)  # noqa: S311 - no secret
