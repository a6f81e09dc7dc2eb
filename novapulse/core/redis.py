"""The one door to Redis: short timeouts, no retries, and a breaker that fails fast.

Redis holds nothing that is not also in MongoDB or that may not be lost: bells
and rate-limit windows. redis-py's own defaults would wait up to 58 s on a
stopped server.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import redis.asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from novapulse.core.telemetry import metrics

T = TypeVar("T")
_FAILURES_TO_OPEN = 3
_OPEN_SECONDS = 2.0


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


class Cache:
    """A process's Redis client. Every call may fail: callers go on without it."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._client: Any = redis_asyncio.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
        self.breaker = Breaker()
        metrics.redis_connection_status.set(0)

    async def _call(self, command: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """The answer, or None when Redis is away."""
        if self.breaker.is_open:
            return None
        started = time.perf_counter()
        try:
            answer = await call()
        except (RedisError, OSError, TimeoutError):
            self.breaker.failed()
            metrics.redis_connection_status.set(0)
            return None
        finally:
            metrics.redis_command(command).observe(time.perf_counter() - started)
        self.breaker.succeeded()
        metrics.redis_connection_status.set(1)
        return answer

    async def ping(self) -> bool:
        return await self._call("ping", self._client.ping) is not None

    async def publish(self, channel: str) -> None:
        await self._call("publish", lambda: self._client.publish(channel, b"1"))

    async def run_script(
        self, script: str, keys: tuple[str, ...], arguments: tuple[Any, ...]
    ) -> Any | None:
        """The script's answer, or None when Redis is away."""
        compiled = self._client.register_script(script)
        return await self._call("evalsha", lambda: compiled(keys=keys, args=arguments))

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
        await self._client.aclose()
