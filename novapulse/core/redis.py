"""The one door to Redis: short timeouts, no retries, and a breaker that fails fast.

Redis holds nothing that is not also in MongoDB or that may not be lost: bells
and rate-limit windows. redis-py's own defaults would wait up to 58 s on a
stopped server.
"""

import asyncio
import hashlib
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import hiredis

# redis-py loads OpenTelemetry for numbers that we count ourselves: 2.5 MiB in every process.
_telemetry: Any = sys.modules.setdefault("opentelemetry", None)  # type: ignore[arg-type]  # None: not to be had
import redis as redis_blocking  # noqa: E402 - see above
import redis.asyncio as redis_asyncio  # noqa: E402 - likewise
from redis.asyncio.retry import Retry  # noqa: E402 - likewise
from redis.asyncio.sentinel import Sentinel  # noqa: E402 - likewise
from redis.backoff import NoBackoff  # noqa: E402 - likewise
from redis.exceptions import RedisError  # noqa: E402 - likewise

if _telemetry is None:
    del sys.modules["opentelemetry"]

from novapulse.core.pipeline import Pipeline  # noqa: E402 - likewise
from novapulse.core.settings.stores import Sentinels, sentinels_in  # noqa: E402 - likewise
from novapulse.core.tasks import end_all  # noqa: E402 - likewise
from novapulse.core.telemetry import metrics  # noqa: E402 - likewise

__all__ = ["Breaker", "Cache", "RedisError", "Script", "ScriptCall", "blocking_client"]

T = TypeVar("T")
_FAILURES_TO_OPEN = 3
_OPEN_SECONDS = 2.0
_UNKNOWN_SCRIPT = "NOSCRIPT"
_NO_MASTER = "READONLY"
# A master whose machine is gone says nothing: whoever only listens to it notices by this.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 2, socket.TCP_KEEPCNT: 3}


class Breaker:
    """Closed, or open until a moment; while open nothing is sent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        return self._clock() < self._open_until

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        """After three failures in a row: open; then one probe every two seconds."""
        self._failures += 1
        if self._failures >= _FAILURES_TO_OPEN:
            self._open_until = self._clock() + _OPEN_SECONDS


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, known to the server by its digest."""

    text: str
    digest: str

    @classmethod
    def of(cls, text: str) -> "Script":
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class ScriptCall(NamedTuple):
    keys: tuple[str, ...]
    arguments: tuple[Any, ...]


class Cache:
    """A process's Redis client. Every call may fail: callers go on without it."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        options: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "health_check_interval": 0}
        self._sentinel: Sentinel | None = None
        if sentinels := sentinels_in(url):
            limit = timeout_seconds
            self._sentinel = _sentinel(Sentinel, sentinels, timeout_seconds=limit, **options)
            self._client: Any = self._sentinel.master_for(sentinels.service)
        else:
            options |= _limits(timeout_seconds)
            self._client = redis_asyncio.Redis.from_url(url, **options)
        self.breaker = Breaker()
        self._timeout_seconds = timeout_seconds
        # Where the master is has to be asked first.
        self._open_seconds = timeout_seconds * (2 if sentinels else 1)
        # Scripts have a connection of their own, which all calls share.
        self._pipeline: Pipeline[Any] | None = None
        self._connection: Any = None
        self._opening: asyncio.Task[Pipeline[Any] | None] | None = None

    async def _call(self, command: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """The answer, or None when Redis is away."""
        if self.breaker.is_open:
            return None
        started = time.perf_counter()
        try:
            answer = await call()
        except (RedisError, OSError, TimeoutError):
            self._failed()
            return None
        finally:
            metrics.redis_command(command).observe(time.perf_counter() - started)
        self.breaker.succeeded()
        metrics.redis_connection_status.set(1)
        return answer

    async def info(self) -> dict[str, Any] | None:
        """What the server says about itself; None when it is away."""
        return await self._call("info", self._client.info)

    async def ping(self) -> bool:
        return await self._call("ping", self._client.ping) is not None

    async def publish(self, channel: str) -> bool:
        """Whether Redis took it."""
        sent = await self._call("publish", lambda: self._client.publish(channel, b"1"))
        return sent is not None

    async def run_script(self, script: "Script", call: "ScriptCall") -> Any | None:
        """The script's answer, or None when Redis is away.

        All calls share one connection, and those of one turn of the loop one write:
        a burst needs no connection each.
        """
        if self.breaker.is_open:
            return None
        started = time.perf_counter()
        try:
            return await self._run(script, call)
        finally:
            metrics.redis_command("evalsha").observe(time.perf_counter() - started)

    async def _run(self, script: Script, call: ScriptCall) -> Any | None:
        pipeline = self._pipeline
        if pipeline is None or not pipeline.is_open:
            pipeline = await self._opened()
            if pipeline is None:
                return None
        rest = (len(call.keys), *call.keys, *call.arguments)
        try:
            answer = await pipeline.ask(hiredis.pack_command(("EVALSHA", script.digest, *rest)))
            if isinstance(answer, Exception) and str(answer).startswith(_UNKNOWN_SCRIPT):
                # The server has restarted or forgotten: from here on it knows the script again.
                answer = await pipeline.ask(hiredis.pack_command(("EVAL", script.text, *rest)))
        except OSError:
            if pipeline is self._pipeline:  # all who waited there have met one failure
                self._pipeline = None
                self._failed()
            return None
        if isinstance(answer, Exception):
            if _NO_MASTER in str(answer):  # a failover has made it one that follows
                pipeline.abort()
            self._failed()
            return None
        self.breaker.succeeded()
        return answer

    async def _opened(self) -> Pipeline[Any] | None:
        """A new connection, which who comes meanwhile waits for, too."""
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)

    async def _open(self) -> Pipeline[Any] | None:
        await self._hang_up()
        connection = self._client.connection_pool.make_connection()
        try:
            async with asyncio.timeout(self._open_seconds):
                await connection.connect()
            self._connection = connection
        except (RedisError, OSError):
            self._failed()
            return None
        finally:
            if self._connection is None:
                await connection.disconnect(nowait=True)
        self._pipeline = Pipeline(
            connection._writer.transport, Replies().feed, timeout_seconds=self._timeout_seconds
        )
        metrics.redis_connection_status.set(1)
        return self._pipeline

    async def _hang_up(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.abort()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    def _failed(self) -> None:
        self.breaker.failed()
        metrics.redis_connection_status.set(0)

    @asynccontextmanager
    async def subscription(self, *channels: str) -> AsyncIterator[AsyncIterator[Any]]:
        """Messages of `channels`, with a connection of its own; raises RedisError."""
        pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(*channels)
            yield pubsub.listen()
        finally:
            await pubsub.aclose()

    async def close(self) -> None:
        if self._opening is not None:
            await end_all((self._opening,))
        await self._hang_up()
        await self._client.aclose()
        if self._sentinel is not None:
            await self._sentinel.aclose()


def blocking_client(url: str, *, timeout_seconds: float) -> Any:
    """A client for code without an event loop, of redis-py's own kind."""
    if sentinels := sentinels_in(url):
        kind = redis_blocking.Sentinel
        asked = _sentinel(kind, sentinels, timeout_seconds=timeout_seconds)
        return asked.master_for(sentinels.service)
    return redis_blocking.Redis.from_url(url, **_limits(timeout_seconds))


def _sentinel(kind: Any, sentinels: Sentinels, *, timeout_seconds: float, **options: Any) -> Any:
    """One after the other is asked, all of them within the time."""
    each = timeout_seconds / len(sentinels.places)
    return kind(
        sentinels.places,
        sentinel_kwargs={
            "username": sentinels.own_username or None,
            "password": sentinels.own_password or None,
            **_limits(each),
            **options,
        },
        db=sentinels.database,
        username=sentinels.username or None,
        password=sentinels.password or None,
        socket_keepalive=True,
        socket_keepalive_options=_KEEPALIVE,
        **_limits(timeout_seconds),
        **options,
    )


def _limits(seconds: float) -> dict[str, Any]:
    return {"socket_timeout": seconds, "socket_connect_timeout": seconds}


class Replies:
    """Cuts a stream into replies; errors of the server are values here."""

    def __init__(self) -> None:
        self._none_yet = object()
        self._reader = hiredis.Reader(
            protocolError=ValueError, replyError=RedisError, notEnoughData=self._none_yet
        )

    def feed(self, data: bytes) -> list[Any]:
        self._reader.feed(data)
        found = []
        while (reply := self._reader.gets()) is not self._none_yet:
            if not isinstance(reply, hiredis.PushNotification):  # news answer nobody
                found.append(reply)
        return found
