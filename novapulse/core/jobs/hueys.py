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
from huey.api import PeriodicTask, Task, TaskWrapper
from huey.exceptions import CancelExecution, RetryTask
from huey.registry import Message, Registry
from huey.serializer import Serializer
from huey.storage import BaseStorage
from huey.utils import normalize_time, utcnow

from novapulse.core.errors import Invalid
from novapulse.core.ids import new_id
from novapulse.core.jobs.states import Cancelled, Retry

Insert = Callable[["HueyCall"], None]


class HueyCall(msgspec.Struct, frozen=True):
    """What a call of a task asks for, as it went through Huey's message; None: not said.

    `eta` is naive UTC and `priority` the higher the more urgent, as Huey has them.
    """

    id: str
    name: str
    kwargs: dict[str, Any]
    eta: datetime | None = None
    retries: int | None = None
    retry_delay: float | None = None
    retry_backoff: float | None = None
    priority: float | None = None
    timeout: float | None = None


class KindRegistry(Registry):  # type: ignore[misc]  # huey has no types
    """Names a task by its kind (`mail.send`), not by its module."""

    def task_to_string(self, task_class: Any) -> str:
        return str(task_class.__name__)


class LedgerTaskWrapper(TaskWrapper):  # type: ignore[misc]  # huey has no types
    """A declared kind; its task class carries handler, queue, pool and policy."""

    @classmethod
    def declare(cls, huey: "LedgerHuey", handler: Any, **settings: Any) -> "LedgerTaskWrapper":
        """Register `handler`; `settings` become attributes of the Huey task class.

        What a call leaves out stays None, so that the kind's and its queue's policies fill it.
        """
        from novapulse.core.jobs.rows import Policy

        given = dict(settings.pop("policy"))
        cron, check = given.pop("cron", None), given.pop("check", None)
        attributes = {
            **settings,
            "policy": Policy(**given),
            "handler": staticmethod(handler),
            "check_payload": staticmethod(_payload_check(handler, check)),
            "create_id": lambda _task: new_id("job"),
            "default_retries": None,
            "default_retry_delay": None,
            "default_retry_backoff": None,
        }
        if cron is not None:
            attributes["check_payload"]({})  # nobody could give it one
            attributes["task_base"] = PeriodicTask
            attributes["validate_datetime"] = lambda _task, moment: cron(moment)
        return cls(huey, _synchronous(huey, handler), context=True, **attributes)

    def s(self, *args: Any, **kwargs: Any) -> Any:
        """Huey's signature of a call; positional arguments are refused, the payload has names."""
        if args:
            raise TypeError(f"{self.name} takes its payload by name")
        return super().s(**kwargs)


Check = Callable[[dict[str, Any]], None]


def _payload_check(handler: Any, more: Check | None) -> Check:
    """Refuses a payload that the handler could not be called with, or that `more` refuses."""
    signature = inspect.signature(handler)

    def check(payload: dict[str, Any]) -> None:
        try:
            signature.bind(None, **payload)
        except TypeError as error:
            raise Invalid.field("payload", str(error)) from error
        if more is not None:
            more(payload)

    return check


def as_ours(error: BaseException) -> BaseException:
    """What Huey's own exceptions mean to the ledger; any other error is itself.

    `RetryTask` spends an attempt here: no job runs without a bound.
    """
    if isinstance(error, RetryTask):
        reason = "the handler asked for it" if error.args[:1] == (None,) else str(error)
        if error.eta is None and error.delay is None:
            return Retry(reason)
        due = normalize_time(error.eta, error.delay)
        return Retry(reason, after_seconds=(due - utcnow()).total_seconds())
    if isinstance(error, CancelExecution):
        reason = str(error) or "the handler cancelled it"
        return Cancelled(reason) if error.retry is False else Retry(reason)
    return error


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
    """Takes what Huey enqueues to the ledger; reading is for the consumer, by claim."""

    blocking = True

    def __init__(self, name: str, huey: "LedgerHuey") -> None:
        super().__init__(name)
        self._huey = huey

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        """Raises RuntimeError in a process that is not connected to the ledger."""
        if self._huey.insert is None:
            raise RuntimeError("this process is not connected to the ledger")
        self._huey.insert(msgspec.json.decode(data, type=HueyCall))

    def add_to_schedule(self, data: bytes, ts: datetime) -> None:
        self.enqueue(data)

    def read_schedule(self, ts: datetime) -> list[bytes]:
        return []  # the claim's own query promotes what is due

    def dequeue(self) -> None:
        return None


def _as_hueys(priority: Any) -> Any:
    """Huey's highest number is the most urgent, our `Priority` is the other way round."""
    from novapulse.core.jobs.kinds import Priority

    return Priority.NORMAL - priority if isinstance(priority, Priority) else priority


def _asks_for_more(task: Any) -> bool:
    return any((task.on_complete, task.on_error, task.chord_config, task.expires))


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class LedgerHuey(Huey):  # type: ignore[misc]  # huey has no types
    """A queue as Huey knows it.

    `insert` writes a call to the ledger, in a process that may do so outside of
    a transaction (`core.jobs.sync`).
    """

    def __init__(self, name: str) -> None:
        self.insert: Insert | None = None
        self.immediate_context: Callable[[Any], Any] = lambda task: task
        super().__init__(name, results=False, serializer=JsonSerializer())
        self._registry = KindRegistry()

    def get_storage(self, **options: Any) -> LedgerStorage:
        return LedgerStorage(self.name, self)

    def get_task_wrapper_class(self) -> type[TaskWrapper]:
        return LedgerTaskWrapper

    def enqueue(self, task: Any) -> Any:
        """What calling a task and `schedule` come to.

        Raises:
            RuntimeError: in a running event loop; there, `tx.enqueue` is the way.
            TypeError: of what Huey offers the ledger has no pipelines, groups, chords, expiry.
            Invalid: the payload does not fit the handler.
        """
        if _loop_is_running():
            raise RuntimeError("in a coroutine use: await tx.enqueue(kind, payload)")
        if not isinstance(task, Task) or _asks_for_more(task):
            raise TypeError("pipelines, groups, chords, error handlers and expiry are not for jobs")
        if task.args:
            raise TypeError(f"{task.name} takes its payload by name")
        task.check_payload(task.kwargs)
        task.priority = _as_hueys(task.priority)
        return super().enqueue(task)

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
