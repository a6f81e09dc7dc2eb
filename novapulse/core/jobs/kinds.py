"""Queues, job kinds and how they are declared.

`@job` registers a Huey task around a coroutine: the kind's name is the Huey
task's name, Huey's registry is the table that consumers look kinds up in, and
calling the task from synchronous code enqueues it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, TypeVar

from huey.api import TaskWrapper
from huey.exceptions import HueyException

from novapulse.core.errors import Invalid
from novapulse.core.jobs.backoff import AnyBackoff
from novapulse.core.jobs.hueys import LedgerHuey

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[None]])


class Queue(StrEnum):
    EMAIL = "email"
    WEBHOOK = "webhook"
    WORKFLOW = "workflow"
    REPORT = "report"

    @property
    def public_name(self) -> str:
        """`nova:email`, as people and Huey call it."""
        return f"nova:{self.value}"


hueys: dict[Queue, LedgerHuey] = {queue: LedgerHuey(queue.public_name) for queue in Queue}


def job(
    kind: str,
    *,
    queue: Queue,
    attempts: int | None = None,
    backoff: AnyBackoff | None = None,
    timeout_seconds: float | None = None,
) -> Callable[[Handler], TaskWrapper]:
    """Declare `async def handler(ctx, **payload)` as the job kind `kind` (`mail.send`).

    Policies that are left out come from the queue's settings when a job is enqueued.
    """

    def declare(handler: Handler) -> TaskWrapper:
        def run(*args: Any, **payload: Any) -> None:
            asyncio.run(handler(*args, **payload))  # type: ignore[arg-type]  # handlers are coroutines

        run.__doc__ = handler.__doc__
        run.__module__ = handler.__module__
        declare_task = hueys[queue].task(
            name=kind,
            handler=staticmethod(handler),
            queue=queue,
            attempts=attempts,
            backoff=backoff,
            timeout_seconds=timeout_seconds,
        )
        wrapper: TaskWrapper = declare_task(run)
        return wrapper

    return declare


def find_kind(kind: str) -> Any:
    """The Huey task class of `kind`, or None."""
    for huey in hueys.values():
        try:
            return huey._registry.string_to_task(kind)
        except HueyException:
            continue
    return None


def get_kind(kind: str) -> Any:
    """The Huey task class of `kind`; raises Invalid for an unknown one."""
    found = find_kind(kind)
    if found is None:
        raise Invalid.field("kind", f"there is no job kind {kind!r}")
    return found
