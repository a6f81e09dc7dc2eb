"""What a process looks at now and then, so that its gauges are true while nothing happens."""

import asyncio
import shutil
from pathlib import Path

from novapulse import __version__
from novapulse.core.clock import until_next
from novapulse.core.mongo import Database
from novapulse.core.redis import Cache
from novapulse.core.room import Room, is_low
from novapulse.core.telemetry import metrics

PULSE_SECONDS = 10.0
TROUBLE_SECONDS = 2.0


async def keep_pulse(
    db: Database, cache: Cache, *, state_directory: Path, room: Room | None = None
) -> None:
    """Until cancelled. Redis is asked each time: a process without work would not miss it.

    `room` is kept where MongoDB writes to the same disk.
    """
    metrics.build_info.labels(__version__).set(1)
    while True:
        is_there = await cache.ping()
        for state, number in db.pool_sizes().items():
            metrics.db_connection_pool_size.labels(state).set(number)
        show_disk(state_directory, room)
        is_well = is_there and not (room and room.is_low)
        await asyncio.sleep(until_next(PULSE_SECONDS if is_well else TROUBLE_SECONDS))


def show_disk(directory: Path, room: Room | None = None) -> None:
    """The disk of the state directory, as this process sees it."""
    try:
        usage = shutil.disk_usage(directory)
        if room is not None:
            room.is_low = is_low(directory)
    except OSError:
        return  # shown by whoever looks at the disk
    metrics.disk_free_bytes.set(usage.free)
    metrics.disk_size_bytes.set(usage.total)
