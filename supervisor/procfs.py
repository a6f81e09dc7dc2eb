"""What /proc tells about processes: memory, state, session, and whose descendants they are."""

import os
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    pid: int
    state: str
    parent: int
    session: int


def find_rss_bytes(pid: int) -> int | None:
    """Resident memory, or None when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return None


def find_stat(pid: int) -> ProcessStat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name before it may hold spaces and brackets itself, so search from the end.
    state, parent, _group, session = text.rpartition(b")")[2].split()[:4]
    return ProcessStat(pid, state.decode(), int(parent), int(session))


def carries(pid: int, entry: bytes) -> bool:
    """Was the process started with `entry` (`NAME=value`) in its environment?"""
    try:
        return entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
