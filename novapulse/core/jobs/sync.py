"""Calls of Huey tasks from synchronous code: each a row of the ledger, in a write of its own.

For scripts and their tests. Services enqueue with `await tx.enqueue(…)`, inside
the transaction of the cause; in a running event loop a call is refused.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

from pymongo import MongoClient
from pymongo import errors as mongo_errors

from novapulse.core.clock import to_utc
from novapulse.core.errors import Invalid
from novapulse.core.jobs.backoff import Exponential
from novapulse.core.jobs.bell import channel
from novapulse.core.jobs.hueys import HueyCall
from novapulse.core.jobs.kinds import Priority, hueys
from novapulse.core.jobs.rows import JOBS, NewJob, Policy
from novapulse.core.mongo import DURABLE, Document, translate
from novapulse.core.redis import RedisError, blocking_client

_JOB_ID = re.compile(r"job_[0-9a-z]{26}")
_RING_SECONDS = 0.25


class SyncLedger:
    """Within its block, calling a declared task enqueues a job of `company_id` (None: of no one).

    `make_row` makes a row of a new job: `Runtime.job_row`, or what does the same.
    A Redis that is away costs latency only.
    """

    def __init__(
        self,
        *,
        mongo_uri: str,
        database: str,
        redis_url: str,
        make_row: Callable[[NewJob], Document],
        timeout_seconds: float = 5.0,
        company_id: str | None = None,
    ) -> None:
        self._client: MongoClient[Document] = MongoClient(
            mongo_uri, tz_aware=True, timeoutMS=round(timeout_seconds * 1000), appname="novapulse"
        )
        self._rows = self._client[database].get_collection(JOBS, write_concern=DURABLE)
        self._redis = blocking_client(redis_url, timeout_seconds=_RING_SECONDS)
        self._make_row = make_row
        self._company_id = company_id

    def __enter__(self) -> Self:
        for huey in hueys.values():
            huey.insert = self.insert
        return self

    def __exit__(self, *_: object) -> None:
        for huey in hueys.values():
            huey.insert = None
        self._redis.close()
        self._client.close()

    def insert(self, call: HueyCall) -> None:
        """Write the job that the call asks for, then ring.

        Raises:
            Invalid: the payload does not fit, or a number is out of range.
            TooLarge: a payload of more than 64 KiB as JSON.
            Conflict: there is a job of this id already.
            Unavailable: the database does not answer; nothing is known of the job.
        """
        row = self._make_row(_new_job(call, self._company_id))
        try:
            self._rows.insert_one(row)
        except mongo_errors.PyMongoError as error:
            raise translate(error) from error
        self._ring(str(row["queue"]))

    def _ring(self, queue: str) -> None:
        try:
            self._redis.publish(channel(queue), b"1")
        except (RedisError, OSError):
            return


def _new_job(call: HueyCall, company_id: str | None) -> NewJob:
    if not _JOB_ID.fullmatch(call.id):
        raise Invalid.field("id", "must be an id of a job, such as core.ids makes them")
    return NewJob(
        kind=call.name,
        payload=call.kwargs,
        company_id=company_id,
        id=call.id,
        policy=_policy(call),
        due_at=_moment(call.eta),
        priority=_priority(call.priority),
    )


def _policy(call: HueyCall) -> Policy:
    """Huey waits `retry_delay` before a retry, times `retry_backoff` each time, and not longer."""
    backoff = None
    if call.retry_delay is not None:
        factor = call.retry_backoff or 1.0
        backoff = Exponential(seconds=call.retry_delay, factor=factor, jitter=0.0)
    attempts = None if call.retries is None else call.retries + 1
    return Policy(attempts=attempts, backoff=backoff, timeout_seconds=call.timeout)


def _moment(eta: datetime | None) -> datetime | None:
    """Huey's naive UTC as an aware moment."""
    return None if eta is None else to_utc(eta.replace(tzinfo=UTC))


def _priority(priority: float | None) -> Priority:
    if not priority:
        return Priority.NORMAL
    return Priority.HIGH if priority > 0 else Priority.LOW
