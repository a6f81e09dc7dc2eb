"""The one door to Redis: short timeouts, no retries, and a breaker that fails fast.

Redis holds nothing that is not also in MongoDB or that may not be lost: bells
and rate-limit windows. redis-py's own defaults would wait up to 58 s on a
stopped server.
"""

import asyncio
import hashlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

# redis-py loads OpenTelemetry for numbers that we count ourselves: 2.5 MiB in every process.
_telemetry: Any = sys.modules.setdefault("opentelemetry", None)  # type: ignore[arg-type]  # None: not to be had
import redis.asyncio as redis_asyncio  # noqa: E402 - see above
from redis.asyncio.retry import Retry  # noqa: E402 - likewise
from redis.backoff import NoBackoff  # noqa: E402 - likewise
from redis.exceptions import NoScriptError, RedisError  # noqa: E402 - likewise

if _telemetry is None:
    del sys.modules["opentelemetry"]

from novapulse.core.telemetry import metrics  # noqa: E402 - likewise

__all__ = ["Breaker", "Cache", "RedisError", "Script", "ScriptCall"]

T = TypeVar("T")
_FAILURES_TO_OPEN = 3
_OPEN_SECONDS = 2.0
_MOST_AT_ONCE = 500


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


Waiting = tuple[Script, ScriptCall, "asyncio.Future[Any | None]"]


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
        self._waiting: list[Waiting] = []
        self._sending: asyncio.Task[None] | None = None

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

    async def info(self) -> dict[str, Any] | None:
        """What the server says about itself; None when it is away."""
        return await self._call("info", self._client.info)

    async def ping(self) -> bool:
        return await self._call("ping", self._client.ping) is not None

    async def publish(self, channel: str) -> None:
        await self._call("publish", lambda: self._client.publish(channel, b"1"))

    async def run_script(self, script: "Script", call: "ScriptCall") -> Any | None:
        """The script's answer, or None when Redis is away.

        Calls that come while others travel go together in the next round trip,
        so a burst needs one connection and not one each.
        """
        if self.breaker.is_open:
            return None
        answer: asyncio.Future[Any | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((script, call, answer))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_scripts())
        return await answer

    async def _send_scripts(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            answers = await self._call("evalsha", lambda batch=batch: self._execute(batch))  # type: ignore[misc]  # bound now, not late
            if answers is None:
                # Who came meanwhile has waited for the same silence: a second one is too long.
                batch, self._waiting = [*batch, *self._waiting], []
                answers = [None] * len(batch)
            for (_, _, answer), value in zip(batch, answers, strict=True):
                if not answer.done():
                    answer.set_result(value)

    async def _execute(self, batch: "list[Waiting]") -> list[Any]:
        """One pipeline; scripts that the server does not know are loaded, then called again."""
        answers = await self._pipeline(batch)
        if any(isinstance(one, NoScriptError) for one in answers):
            for script in {script for script, _, _ in batch}:
                await self._client.script_load(script.text)
            answers = await self._pipeline(batch)
        for one in answers:
            if isinstance(one, Exception):
                raise one
        return answers

    async def _pipeline(self, batch: "list[Waiting]") -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for script, call, _ in batch:
                pipeline.evalsha(script.digest, len(call.keys), *call.keys, *call.arguments)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
            return answers

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
