"""Distributed rate limits: a sliding window in Redis, one round trip, fails open.

The window slides over two counters: what the previous window counted fades out
as the current one goes on. Keys are `throttle:{companyId}:{ip}:{route}`.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from novapulse.core.redis import Cache, Script, ScriptCall
from novapulse.core.settings.rates import Rate
from novapulse.core.telemetry import metrics

# KEYS[1] the bucket; ARGV: limit, window in ms. Uses the server's clock.
# Answers {allowed, remaining, ms until the next request can pass}.
_SLIDING_WINDOW = Script.of("""
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local index = math.floor(now / window)
local into = now - index * window
local row = redis.call('HMGET', KEYS[1], 'i', 'c', 'p')
local seen, current, previous = tonumber(row[1]), tonumber(row[2]) or 0, tonumber(row[3]) or 0
if seen ~= index then
  previous = (seen == index - 1) and current or 0
  current = 0
end
local used = current + previous * (window - into) / window
local allowed = 0
if used + 1 <= limit then
  allowed = 1
  current = current + 1
  used = used + 1
end
local left = window - into
local wait = left
if allowed == 0 then
  if current + 1 <= limit then
    wait = left - math.floor((limit - 1 - current) * window / previous)
  else
    wait = left + window - math.floor((limit - 1) * window / current)
  end
end
redis.call('HSET', KEYS[1], 'i', index, 'c', current, 'p', previous)
redis.call('PEXPIRE', KEYS[1], 2 * window)
return {allowed, math.max(0, math.floor(limit - used)), wait}
""")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass, and what the RateLimit headers say about it."""

    is_allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    window_seconds: int

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (
            ("ratelimit", f'"default";r={self.remaining};t={self.reset_seconds}'),
            ("ratelimit-policy", f'"default";q={self.limit};w={self.window_seconds}'),
        )


async def check(cache: Cache, key: str, rate: Rate) -> Verdict | None:
    """Count one request against `key`; None when Redis is away (the request passes)."""
    call = ScriptCall((key,), (rate.limit, rate.window_seconds * 1000))
    answer = await cache.run_script(_SLIDING_WINDOW, call)
    if answer is None:
        metrics.ratelimit_fail_open_total.inc()
        return None
    allowed, remaining, reset_milliseconds = answer
    return Verdict(
        is_allowed=bool(allowed),
        limit=rate.limit,
        remaining=int(remaining),
        reset_seconds=max(1, -(-int(reset_milliseconds) // 1000)),
        window_seconds=rate.window_seconds,
    )


class LocalWindow:
    """One process's own sliding windows, for what must stay limited without Redis; bounded."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, max_keys: int = 10_000
    ) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self._windows: OrderedDict[str, tuple[int, int, int]] = OrderedDict()

    def check(self, key: str, rate: Rate) -> Verdict:
        """Count one request against `key`, as the script in Redis does."""
        now = self._clock()
        index = int(now // rate.window_seconds)
        seen, current, previous = self._windows.pop(key, (index, 0, 0))
        if seen != index:
            current, previous = 0, current if seen == index - 1 else 0
        left = (index + 1) * rate.window_seconds - now
        used = current + previous * left / rate.window_seconds
        is_allowed = used + 1 <= rate.limit
        wait = left
        if not is_allowed and current + 1 <= rate.limit:
            wait -= (rate.limit - 1 - current) * rate.window_seconds / previous
        elif not is_allowed:
            wait += rate.window_seconds * (1 - (rate.limit - 1) / current)
        self._windows[key] = (index, current + is_allowed, previous)
        if len(self._windows) > self._max_keys:
            self._windows.popitem(last=False)
        return Verdict(
            is_allowed=is_allowed,
            limit=rate.limit,
            remaining=max(0, int(rate.limit - used - is_allowed)),
            reset_seconds=max(1, math.ceil(wait)),
            window_seconds=rate.window_seconds,
        )
