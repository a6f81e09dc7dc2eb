"""One call of MongoDB's driver: how long it took, and what its error means to us.

The errors themselves are those of `core.errors`; only `core.mongo` and what
runs beside it call the driver.
"""

import time
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from pymongo import AsyncMongoClient
from pymongo import errors as mongo_errors
from pymongo import timeout as driver_timeout

from novapulse.core import errors
from novapulse.core.telemetry import metrics, tracing

T = TypeVar("T")
DUPLICATE = 11000
# What a server answers while it shuts down, starts, or has no primary yet; 64: the majority did
# not confirm in time; 211 is KeyNotFound: a member that just started can not sign its cluster
# time; 134 and 246: nothing is known to be at a majority yet.
NOT_SERVING = frozenset({64, 91, 133, 134, 189, 211, 246, 10107, 11600, 11602, 13435, 13436})
_AUTHENTICATION_FAILED = 18
# "saslContinue must follow saslStart": seen once, of a new connection on a busy machine. Another
# connection is let in.
_HANDSHAKE_BROKE = 17
_DISK_FULL = frozenset({14031, 28})  # OutOfDiskSpace, and WiredTiger's ENOSPC
_LEAST_SECONDS = 0.05
# With 1.5 s a call and 0.5 s to give up a transaction: a refusal within 2.3 s.
_CALLS_IN_A_BUDGET = 1.2


class _Budget:
    """What the calls of one request may still wait, all together; one alone, `call_seconds`."""

    __slots__ = ("call_seconds", "left_seconds")

    def __init__(self, call_seconds: float) -> None:
        self.call_seconds = call_seconds
        self.left_seconds = _CALLS_IN_A_BUDGET * call_seconds


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def budget(call_seconds: float) -> Iterator[_Budget]:
    """The calls inside share little more than one may take: many slow ones must not add up.

    Only time spent waiting for MongoDB counts, not a client that sends slowly or a password
    that is being hashed.
    """
    shared = _Budget(call_seconds)
    token = _budget.set(shared)
    try:
        yield shared
    finally:
        _budget.reset(token)


@contextmanager
def spending() -> Iterator[None]:
    """What is waited inside, for others who wait for MongoDB, counts as waiting for it."""
    started, shared = time.perf_counter(), _budget.get()
    try:
        yield
    finally:
        if shared is not None:
            shared.left_seconds -= time.perf_counter() - started


class Duplicate(errors.Conflict):
    """A unique index refused the row; `index` is its name."""

    def __init__(self, index: str) -> None:
        super().__init__()
        self.index = index


class EarlyConnection(errors.Unavailable):
    """The pool lent a connection that was made before the server knew its replica set.

    It refuses every transaction for as long as it lives, and the pool lends the one that was
    used last: it has to be replaced.
    """


def translate(error: mongo_errors.PyMongoError) -> errors.Error:
    """Our error for the driver's: who can do something about it decides the class."""
    if error.has_error_label("TransientTransactionError"):
        return errors.TransientConflict()
    if isinstance(error, mongo_errors.OperationFailure):
        codes = _codes(error)
        if DUPLICATE in codes:
            return Duplicate(_index_name(error.details))
        if codes & _DISK_FULL:
            return errors.StorageFull()
        if _AUTHENTICATION_FAILED in codes:
            return errors.Unavailable("The database does not accept our name and password")
        if _HANDSHAKE_BROKE in codes:
            return errors.Unavailable("The database broke off a sign-in; try again shortly")
        if codes & NOT_SERVING or error.has_error_label("RetryableWriteError"):
            return errors.Unavailable("The database is starting or stopping; try again shortly")
    if isinstance(error, mongo_errors.ConfigurationError):
        # "Sessions are not supported by this deployment": what the driver concluded of a
        # connection from the first words of a server that had just come back.
        return EarlyConnection("The database is starting or stopping; try again shortly")
    if error.timeout or isinstance(
        error, mongo_errors.ConnectionFailure | mongo_errors.WaitQueueTimeoutError
    ):
        return errors.Unavailable("The database does not answer; try again shortly")
    raise error  # a bug: let it surface with its own traceback


def _codes(error: mongo_errors.OperationFailure) -> set[int | None]:
    """The error's code, and those of the single writes that it is made of."""
    details = error.details or {}
    parts = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    return {error.code, *(part.get("code") for part in parts)}


def _index_name(details: Mapping[str, Any] | None) -> str:
    """From the message, which for a batch is the first write's."""
    rows = (details or {}).get("writeErrors") or [details or {}]
    message = str(rows[0].get("errmsg", ""))
    return message.partition("index: ")[2].partition(" ")[0]


def remaining_seconds(call_seconds: float) -> float:
    """How long a call that may take `call_seconds` may take inside the budget, if there is one."""
    shared = _budget.get()
    if shared is None or shared.left_seconds >= call_seconds:
        return call_seconds
    return max(shared.left_seconds, _LEAST_SECONDS)


async def replace_connections(client: AsyncMongoClient[Any]) -> None:
    """Let new connections take the place of all; who has one borrowed keeps it until its end.

    The driver does so by itself only when a server goes away.
    """
    for server in client._topology._servers.values():
        await server.pool.reset_without_pause()


async def measured(collection: str, operation: str, call: Awaitable[T]) -> T:
    """Await one driver call: its duration is recorded, its errors are ours."""
    started, shared = time.perf_counter(), _budget.get()
    try:
        with tracing.span(
            f"{operation} {collection}",
            is_call=True,
            db_system_name="mongodb",
            db_collection_name=collection,
            db_operation_name=operation,
        ):
            return await (call if shared is None else _within(shared, call))
    except mongo_errors.PyMongoError as error:
        raise translate(error) from error
    finally:
        took = time.perf_counter() - started
        if shared is not None:
            shared.left_seconds -= took
        metrics.db_query(collection, operation).observe(took)


async def _within(shared: _Budget, call: Awaitable[T]) -> T:
    """Nearly all requests have most of it left: then the client's own limit is the nearer one."""
    seconds = remaining_seconds(shared.call_seconds)
    if seconds == shared.call_seconds:
        return await call
    with driver_timeout(seconds):
        return await call
