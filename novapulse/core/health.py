"""Whether this process can serve: its stores, memory, disk and the consumers."""

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

from novapulse.core.context import Runtime
from novapulse.core.errors import Error
from novapulse.core.jobs import presence
from novapulse.core.room import is_low

_FRESH_SECONDS = 1.0
_MIN_MEMORY_SHARE = 0.05

Check = dict[str, Any]


class Health:
    """Answers from checks that are at most a second old, however often it is asked."""

    def __init__(self, runtime: Runtime, *, state_directory: Path) -> None:
        self._runtime = runtime
        self._state_directory = state_directory
        self._started = time.monotonic()
        self._checked = 0.0
        self._checks: dict[str, Check] = {}
        self._lock = asyncio.Lock()
        self.is_draining = False

    @property
    def uptime_seconds(self) -> int:
        return int(time.monotonic() - self._started)

    async def checks(self) -> dict[str, Check]:
        """Name to `{"status": "ok"|"degraded"|"down", …}`."""
        async with self._lock:
            if time.monotonic() - self._checked > _FRESH_SECONDS or not self._checks:
                stores = await self.stores()
                self._checks = {
                    **stores,
                    "memory": memory(),
                    "disk": disk(self._state_directory),
                    "workers": await self._workers(stores["mongodb"]),
                }
                self._checked = time.monotonic()
            return self._checks

    async def stores(self) -> dict[str, Check]:
        """MongoDB and Redis, asked now."""
        mongodb, redis = await asyncio.gather(self._mongodb(), self._redis())
        return {"mongodb": mongodb, "redis": redis}

    async def is_ready(self) -> bool:
        """Whether requests may come: not draining, both stores there."""
        checks = await self.checks()
        return not self.is_draining and all(
            checks[name]["status"] == "ok" for name in ("mongodb", "redis")
        )

    async def _mongodb(self) -> Check:
        try:
            await self._runtime.db.ping()
        except Error as error:
            return {"status": "down", "detail": error.detail}
        return {"status": "ok"}

    async def _redis(self) -> Check:
        if await self._runtime.cache.ping():
            return {"status": "ok"}
        return {"status": "down", "detail": "Redis does not answer; limits fail open"}

    async def _workers(self, mongodb: Check) -> Check:
        if mongodb["status"] != "ok":
            return {"status": "degraded", "detail": "not known while MongoDB is away"}
        consumers = await presence.live_consumers(self._runtime.db)
        return {"status": "ok" if consumers else "degraded", "consumers": consumers}


def overall(checks: dict[str, Check]) -> str:
    """`down` without MongoDB, `degraded` when anything else is not well, else `ok`."""
    if checks["mongodb"]["status"] == "down":
        return "down"
    return "ok" if all(check["status"] == "ok" for check in checks.values()) else "degraded"


def memory() -> Check:
    """Degraded when less than 5 % of the machine's memory is left."""
    facts = {}
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        facts[name] = int(rest.split()[0]) * 1024
    share = facts["MemAvailable"] / facts["MemTotal"]
    status = "ok" if share >= _MIN_MEMORY_SHARE else "degraded"
    return {"status": status, "availableBytes": facts["MemAvailable"]}


def disk(directory: Path) -> Check:
    """Degraded when the state directory's disk has under 5 % or 512 MiB left."""
    status = "degraded" if is_low(directory) else "ok"
    return {"status": status, "freeBytes": shutil.disk_usage(directory).free}
