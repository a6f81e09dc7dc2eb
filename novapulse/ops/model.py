"""What the operational endpoints answer."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class HealthReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`checks` and what follows are for those who may see them only."""

    status: str
    checks: dict[str, dict[str, Any]] | UnsetType = UNSET
    version: str | UnsetType = UNSET
    uptime_seconds: int | UnsetType = UNSET


class QueueStats(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One queue by job states; `oldest_seconds` is how long the oldest due job has waited."""

    queue: str
    available: int
    scheduled: int
    running: int
    retryable: int
    completed: int
    dead: int
    oldest_seconds: float
    rate_per_minute: int
    paused: bool
    consumers: int


class QueueTable(msgspec.Struct, frozen=True):
    data: list[QueueStats]
