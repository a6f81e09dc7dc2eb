"""The files in which processes leave their numbers, and the archive of those that ended.

A file belongs to one incarnation of one process. When that ended, its counters
and histograms are folded into the archive and its files are removed: counters
never go backwards, and nothing that is gone is still shown.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.mmap_dict import MmapedDict

ARCHIVE = "archive.json"
_REMEMBERED = 200


class Part(msgspec.Struct, frozen=True, gc=False):
    """One file: `kind` is counter, gauge or histogram, `mode` how a gauge is merged."""

    kind: str
    mode: str
    instance: str
    values: list[tuple[str, float, float]]  # key, value, Unix time


class Archive(msgspec.Struct):
    """Sums by kind and key; `folded` are the last instances that are in them."""

    folded: list[str] = []
    sums: dict[str, dict[str, float]] = {}

    def parts(self) -> list[Part]:
        return [
            Part(kind, "", "", [(key, value, 0.0) for key, value in sums.items()])
            for kind, sums in self.sums.items()
        ]


def read_parts(directory: Path) -> list[Part]:
    """All that is to be merged, each number once, whatever is folded meanwhile.

    The archive is read last: a file that is gone by then is in it, and one that
    was read and folded after that is named in it.
    """
    parts = [part for path in _files(directory) if (part := _read(path)) is not None]
    archive = read_archive(directory)
    gone = set(archive.folded)
    return [*(part for part in parts if part.instance not in gone), *archive.parts()]


def read_archive(directory: Path) -> Archive:
    try:
        return msgspec.json.decode((directory / ARCHIVE).read_bytes(), type=Archive)
    except FileNotFoundError:
        return Archive()


def fold(directory: Path, instances: Iterable[str]) -> None:
    """Take over what these wrote, who have ended. Repeating it changes nothing."""
    with _locked(directory):
        for instance in instances:
            _fold_one(directory, instance)


def fold_gone(directory: Path, live: Callable[[], Collection[str]]) -> None:
    """Take over what everybody left who is not `live`, asked for after looking who wrote."""
    wrote = {_instance_of(path) for path in _files(directory)}
    alive = set(live())
    fold(directory, sorted(wrote - alive))


def _fold_one(directory: Path, instance: str) -> None:
    files = [path for path in _files(directory) if _instance_of(path) == instance]
    archive = read_archive(directory)
    if files and instance not in archive.folded:
        for path in files:
            part = _read(path)
            if part is None or part.kind == "gauge":
                continue
            sums = archive.sums.setdefault(part.kind, {})
            for key, value, _ in part.values:
                sums[key] = sums.get(key, 0.0) + value
        archive.folded = [*archive.folded, instance][-_REMEMBERED:]
        _write(directory, archive)
    for path in files:
        path.unlink(missing_ok=True)


def _write(directory: Path, archive: Archive) -> None:
    unfinished = directory / f".{ARCHIVE}"
    unfinished.write_bytes(msgspec.json.encode(archive))
    unfinished.replace(directory / ARCHIVE)


class _locked:  # noqa: N801 - used as a function is
    """One writer of the archive at a time: while the scheduler is replaced there are two."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / ".archive.lock"

    def __enter__(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)


def _files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.db"))


def _instance_of(path: Path) -> str:
    return path.stem.rpartition("_")[2]


def _read(path: Path) -> Part | None:
    kind, *rest = path.stem.split("_")
    values: list[Any] = []
    # Gone since we looked, or so new that nothing is in it yet.
    with suppress(FileNotFoundError, struct.error):
        values = [row[:3] for row in MmapedDict.read_all_values_from_file(str(path))]
        return Part(kind, rest[0] if len(rest) > 1 else "", rest[-1], values)
    return None
