"""What a process looks at now and then, so that its gauges are true while nothing happens."""

import asyncio
import shutil
from pathlib import Path

from novapulse import __version__
from novapulse.core.mongo import Database
from novapulse.core.redis import Cache
from novapulse.core.telemetry import metrics

PULSE_SECONDS = 10.0
TROUBLE_SECONDS = 2.0


async def keep_pulse(db: Database, cache: Cache, *, state_directory: Path) -> None:
    """Until cancelled. Redis is asked each time: a process without work would not miss it."""
    metrics.build_info.labels(__version__).set(1)
    while True:
        is_there = await cache.ping()
        for state, number in db.pool_sizes().items():
            metrics.db_connection_pool_size.labels(state).set(number)
        show_disk(state_directory)
        await asyncio.sleep(PULSE_SECONDS if is_there else TROUBLE_SECONDS)


def show_disk(directory: Path) -> None:
    """The disk of the state directory, as this process sees it."""
    try:
        usage = shutil.disk_usage(directory)
    except OSError:
        return  # shown by whoever looks at the disk
    metrics.disk_free_bytes.set(usage.free)
    metrics.disk_size_bytes.set(usage.total)
