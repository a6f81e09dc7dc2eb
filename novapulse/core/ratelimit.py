"""Distributed rate limits: a sliding window in Redis, one round trip, fails open.

The window slides over two counters: what the previous window counted fades out
as the current one goes on. Keys are `throttle:{companyId}:{ip}:{route}`.
"""

from dataclasses import dataclass

from novapulse.core.redis import Cache
from novapulse.core.settings.rates import Rate
from novapulse.core.telemetry import metrics

# KEYS[1] the bucket; ARGV: limit, window in ms. Uses the server's clock.
# Answers {allowed, remaining, ms until the window turns}.
_SLIDING_WINDOW = """
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
redis.call('HSET', KEYS[1], 'i', index, 'c', current, 'p', previous)
redis.call('PEXPIRE', KEYS[1], 2 * window)
return {allowed, math.max(0, math.floor(limit - used)), window - into}
"""


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
    arguments = (rate.limit, rate.window_seconds * 1000)
    answer = await cache.run_script(_SLIDING_WINDOW, (key,), arguments)
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
