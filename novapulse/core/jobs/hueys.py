"""Huey's own seams, filled by the ledger: registry, storage and consumer class.

A queue is a `Huey` instance. Its registry knows a job kind by its bare name,
its storage writes to the ledger, its consumer is `core.jobs.consumer`.
"""

from collections.abc import Callable
from typing import Any

from huey import Huey
from huey.registry import Registry
from huey.storage import BaseStorage


class KindRegistry(Registry):  # type: ignore[misc]  # huey has no types
    """Names a task by its kind (`mail.send`), not by its module."""

    def task_to_string(self, task_class: Any) -> str:
        return str(task_class.__name__)


class LedgerStorage(BaseStorage):  # type: ignore[misc]  # huey has no types
    """What Huey stores goes to the ledger; what it would pop, consumers claim instead.

    A popped message dies with its consumer; a claimed row does not. So nothing
    is ever dequeued here.
    """

    blocking = True

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        raise RuntimeError("jobs are enqueued in a transaction: tx.enqueue(kind, payload)")

    def dequeue(self) -> None:
        return None


class LedgerHuey(Huey):  # type: ignore[misc]  # huey has no types
    """A queue as Huey knows it (`nova:webhook`)."""

    storage_class = LedgerStorage

    def __init__(self, name: str) -> None:
        super().__init__(name, results=False)
        self._registry = KindRegistry()

    def create_consumer(self, serve: Callable[..., Any], **options: Any) -> Any:
        """Huey's consumer with our worker; `serve` is the worker's coroutine."""
        from novapulse.core.jobs.consumer import LedgerConsumer  # only consumers load it

        return LedgerConsumer(self, serve, **options)
