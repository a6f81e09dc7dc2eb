"""Huey's own seams, filled by the ledger: registry, task wrapper, serializer, storage.

A queue is a `Huey` instance (`nova:webhook`). Its registry knows a job kind by
its bare name, a call of a task becomes a row of the ledger, and its consumer is
`core.jobs.consumer`. Nothing is ever popped: a popped message dies with its
consumer, a claimed row does not.
"""

import asyncio
import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from huey import Huey
from huey.api import PeriodicTask, TaskWrapper
from huey.registry import Message, Registry
from huey.serializer import Serializer
from huey.storage import BaseStorage

from novapulse.core.errors import Invalid


class KindRegistry(Registry):  # type: ignore[misc]  # huey has no types
    """Names a task by its kind (`mail.send`), not by its module."""

    def task_to_string(self, task_class: Any) -> str:
        return str(task_class.__name__)


class LedgerTaskWrapper(TaskWrapper):  # type: ignore[misc]  # huey has no types
    """A declared kind; its task class carries handler, queue, pool and policy."""

    @classmethod
    def declare(cls, huey: "LedgerHuey", handler: Any, **settings: Any) -> "LedgerTaskWrapper":
        """Register `handler`; `settings` become attributes of the Huey task class."""
        from novapulse.core.jobs.rows import Policy

        given = dict(settings.pop("policy"))
        cron = given.pop("cron", None)
        policy = Policy(**given)
        attributes = {
            **settings,
            "policy": policy,
            "handler": staticmethod(handler),
            "check_payload": staticmethod(_payload_check(handler)),
            "default_retries": (policy.attempts or 1) - 1,
        }
        if cron is not None:
            attributes["task_base"] = PeriodicTask
            attributes["validate_datetime"] = lambda _task, moment: cron(moment)
        return cls(huey, _synchronous(huey, handler), context=True, **attributes)

    def s(self, *args: Any, **kwargs: Any) -> Any:
        """Huey's signature of a call; positional arguments are refused, the payload has names."""
        if args:
            raise TypeError(f"{self.name} takes its payload by name")
        return super().s(**kwargs)


def _payload_check(handler: Any) -> Callable[[dict[str, Any]], None]:
    """Refuses a payload that the handler could not be called with."""
    signature = inspect.signature(handler)

    def check(payload: dict[str, Any]) -> None:
        try:
            signature.bind(None, **payload)
        except TypeError as error:
            raise Invalid.field("payload", str(error)) from error

    return check


def _synchronous(huey: "LedgerHuey", handler: Any) -> Any:
    """What Huey runs by itself, in `immediate` mode: the handler in a loop of its own."""

    def run(task: Any, **payload: Any) -> None:
        asyncio.run(huey.run_immediately(handler, task, payload))

    run.__doc__, run.__module__ = handler.__doc__, handler.__module__
    return run


class JsonSerializer(Serializer):  # type: ignore[misc]  # huey has no types
    """Huey's messages as JSON: a stored job must never be able to run code when it is read."""

    def _serialize(self, data: Any) -> bytes:
        return msgspec.json.encode(data._asdict() if isinstance(data, Message) else data)

    def _deserialize(self, data: bytes) -> Any:
        found = msgspec.json.decode(data)
        return Message(**found) if isinstance(found, dict) and "name" in found else found


class LedgerStorage(BaseStorage):  # type: ignore[misc]  # huey has no types
    """Takes what Huey enqueues to the ledger, each in a write of its own.

    `insert` is given by the process that is allowed to (`connect`): it gets the
    decoded message. Reading is for the consumer, by claim.
    """

    blocking = True

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._insert: Callable[[dict[str, Any]], None] | None = None

    def connect(self, insert: Callable[[dict[str, Any]], None]) -> None:
        self._insert = insert

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        """Raises RuntimeError in a running event loop: there, `tx.enqueue` is the way."""
        if _loop_is_running():
            raise RuntimeError("in a coroutine use: await tx.enqueue(kind, payload)")
        if self._insert is None:
            raise RuntimeError("this process is not connected to the ledger")
        self._insert(msgspec.json.decode(data))

    def add_to_schedule(self, data: bytes, ts: datetime) -> None:
        self.enqueue(data)

    def read_schedule(self, ts: datetime) -> list[bytes]:
        return []  # the claim's own query promotes what is due

    def dequeue(self) -> None:
        return None

    def peek_data(self, key: str) -> Any:
        from huey.constants import EmptyData

        return EmptyData  # results and revocations are the ledger's states

    pop_data = peek_data


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class LedgerHuey(Huey):  # type: ignore[misc]  # huey has no types
    """A queue as Huey knows it."""

    storage_class = LedgerStorage

    def __init__(self, name: str) -> None:
        super().__init__(name, results=False, serializer=JsonSerializer())
        self._registry = KindRegistry()
        self.immediate_context: Callable[[Any], Any] = lambda task: task

    def get_task_wrapper_class(self) -> type[TaskWrapper]:
        return LedgerTaskWrapper

    def create_consumer(self, serve: Callable[..., Any], **options: Any) -> Any:
        """Huey's consumer with our worker; `serve` is the worker's coroutine."""
        from novapulse.core.jobs.consumer import LedgerConsumer  # only consumers load it

        return LedgerConsumer(self, serve, **options)

    async def run_immediately(self, handler: Any, task: Any, payload: dict[str, Any]) -> None:
        """`immediate` mode: the handler gets what `immediate_context` makes of the task."""
        await handler(self.immediate_context(task), **payload)

    def due_periodic(self, minute: datetime) -> list[str]:
        """Kinds whose crontab fits this minute (UTC)."""
        return [task.name for task in self.read_periodic(minute.astimezone(UTC))]
