"""Queues, job kinds and how they are declared.

`@job` registers a Huey task around a coroutine: the kind's name is the Huey
task's name, Huey's registry is the table in which consumers look kinds up, and
calling the task from synchronous code enqueues it.
"""

from collections.abc import Awaitable, Callable
from enum import IntEnum, StrEnum
from typing import Any, TypeVar

from huey.api import TaskWrapper
from huey.exceptions import HueyException

from novapulse.core.errors import Invalid
from novapulse.core.jobs.hueys import LedgerHuey, LedgerTaskWrapper

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


class Priority(IntEnum):
    """Order inside a company's share of a queue."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class Pool(StrEnum):
    """Where a kind's `ctx.compute` runs what would block the event loop."""

    THREAD = "thread"
    PROCESS = "process"


hueys: dict[Queue, LedgerHuey] = {queue: LedgerHuey(queue.public_name) for queue in Queue}


def job(
    kind: str,
    *,
    queue: Queue,
    pool: Pool = Pool.THREAD,
    sealed: tuple[str, ...] = (),
    **policy: Any,
) -> Callable[[Handler], TaskWrapper]:
    """Declare `async def handler(ctx, *, field, …)` as the job kind `kind` (`mail.send`).

    `sealed` names payload fields that are unreadable in the ledger. `policy`
    holds `attempts`, `backoff`, `timeout_seconds`; what is left out comes from
    the queue's settings. `check=` is called with a new job's payload and raises
    Invalid. `cron=huey.crontab(…)` makes it a periodic one: the leading
    scheduler enqueues it, without a payload, in every minute (UTC) that fits.
    """

    def declare(handler: Handler) -> TaskWrapper:
        return LedgerTaskWrapper.declare(
            hueys[queue], handler, name=kind, queue=queue, pool=pool, sealed=sealed, policy=policy
        )

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


def queues_with_kinds() -> list[Queue]:
    """The queues for which at least one kind is declared."""
    return [queue for queue, huey in hueys.items() if huey._registry._registry]
