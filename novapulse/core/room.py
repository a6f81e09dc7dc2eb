"""Room on the disk: changes are refused before MongoDB can not write any more, and ends."""

import shutil
from pathlib import Path

MIN_FREE_BYTES = 512 * 1024 * 1024
MIN_FREE_SHARE = 0.05


class Room:
    """What a process knows of the disk that the embedded MongoDB writes to; kept by its pulse."""

    __slots__ = ("is_low",)

    def __init__(self) -> None:
        self.is_low = False


def is_low(directory: Path) -> bool:
    """Whether its disk has under 5 % or under 512 MiB left. Raises OSError."""
    usage = shutil.disk_usage(directory)
    return usage.free < max(MIN_FREE_BYTES, MIN_FREE_SHARE * usage.total)
