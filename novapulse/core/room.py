"""Room on the disk: changes are refused before MongoDB can not write any more, and ends."""

import shutil
from pathlib import Path

from novapulse.core.errors import StorageFull

MIN_FREE_BYTES = 512 * 1024 * 1024
MIN_FREE_SHARE = 0.05


class Room:
    """What a process knows of the disk that the embedded MongoDB writes to; kept by its pulse."""

    __slots__ = ("is_low",)

    def __init__(self) -> None:
        self.is_low = False


def is_low(directory: Path) -> bool:
    """Whether its disk has under 5 % or under 512 MiB left. Raises OSError."""
    free, kept = _free_and_kept(directory)
    return free < kept


def require_room(directory: Path, more_bytes: int = 0) -> None:
    """Raises StorageFull when its disk is low, or would be with so many bytes more; OSError."""
    free, kept = _free_and_kept(directory)
    if free >= more_bytes + kept:
        return
    if more_bytes == 0:
        raise StorageFull(f"The disk of {directory} is nearly full")
    wanted, has, stay = (f"{size / 2**30:.1f} GiB" for size in (more_bytes, free, kept))
    raise StorageFull(
        f"The disk of {directory} has too little room: this takes up to {wanted}, "
        f"{has} are free, and {stay} of them stay free"
    )


def _free_and_kept(directory: Path) -> tuple[int, int]:
    usage = shutil.disk_usage(directory)
    return usage.free, max(MIN_FREE_BYTES, int(MIN_FREE_SHARE * usage.total))
