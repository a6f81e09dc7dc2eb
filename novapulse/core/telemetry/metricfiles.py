"""The files in which processes leave their numbers, and the archive of those that ended.

A file belongs to one incarnation of one process. When that ended, its counters
and histograms are folded into the archive and its files are removed: counters
never go backwards, and nothing that is gone is still shown.

The files are prometheus_client's (`mmap_dict`): four bytes say how much is used, four are
empty, then come keys, each with its length before and its value and time behind it. What
is in a file stays where it is, so that a reader who comes again takes only the numbers.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec

ARCHIVE = "archive.json"
_REMEMBERED = 200
_integer_at = struct.Struct("i").unpack_from
_HEADER_BYTES = 8
_FIRST_LOOK_BYTES = 16_384
_NOTHING = struct.Struct("=8x")


@dataclass(frozen=True, slots=True)
class Layout:
    """Which keys one file has, and how to take its numbers."""

    inode: int = 0
    used: int = _HEADER_BYTES
    keys: tuple[str, ...] = ()
    numbers: struct.Struct = _NOTHING

    def grown(self, data: bytes, used: int) -> "Layout":
        """With the keys that have come since."""
        keys, form, at = list(self.keys), [self.numbers.format], self.used
        while at < used:
            (length,) = _integer_at(data, at)
            number = at + 4 + length + 8 - (length + 4) % 8
            if length < 0 or number + 16 > used:
                raise RuntimeError("a file of metrics is corrupted")
            keys.append(data[at + 4 : at + 4 + length].decode())
            form.append(f"{number - at}x2d")
            at = number + 16
        return Layout(self.inode, used, tuple(keys), struct.Struct("".join(form)))


class Part(msgspec.Struct, frozen=True, gc=False):
    """One file: `kind` is counter, gauge or histogram, `mode` how a gauge is merged."""

    kind: str
    mode: str
    instance: str
    keys: tuple[str, ...]
    numbers: tuple[float, ...]  # of each key its value and its Unix time

    @property
    def values(self) -> tuple[float, ...]:
        return self.numbers[::2]


class Archive(msgspec.Struct):
    """Sums by kind and key; `folded` are the last instances that are in them."""

    folded: list[str] = []
    sums: dict[str, dict[str, float]] = {}

    def parts(self) -> list[Part]:
        return [
            Part(
                kind, "", "", tuple(sums), tuple(n for value in sums.values() for n in (value, 0.0))
            )
            for kind, sums in self.sums.items()
        ]


def read_parts(directory: Path) -> list[Part]:
    """All that is to be merged, each number once, whatever is folded meanwhile.

    The archive is read last: a file that is gone by then is in it, and one that
    was read and folded after that is named in it.
    """
    parts = _reader(directory).read()
    archive = read_archive(directory)
    gone = set(archive.folded)
    return [*(part for part in parts if part.instance not in gone), *archive.parts()]


class Reader:
    """Reads the files of one directory, and remembers how they are laid out."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._layouts: dict[str, Layout] = {}

    def read(self) -> list[Part]:
        parts, layouts = [], {}
        for path in _files(self._directory):
            if (found := _read(path, self._layouts.get(path.name))) is not None:
                layouts[path.name], part = found
                parts.append(part)
        self._layouts = layouts
        return parts


@lru_cache(maxsize=4)
def _reader(directory: Path) -> Reader:
    return Reader(directory)


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
            found = _read(path)
            if found is None or (part := found[1]).kind == "gauge":
                continue
            sums = archive.sums.setdefault(part.kind, {})
            for key, value in zip(part.keys, part.values, strict=True):
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
    return sorted(path for path in directory.iterdir() if path.name.endswith(".db"))


def _instance_of(path: Path) -> str:
    return path.stem.rpartition("_")[2]


def _read(path: Path, known: Layout | None = None) -> tuple[Layout, Part] | None:
    kind, *rest = path.stem.split("_")
    # Gone since we looked, or so new that nothing is in it yet.
    with suppress(FileNotFoundError, struct.error):
        inode, data = _content(path, known.used if known else 0)
        (used,) = _integer_at(data, 0)
        if known is None or known.inode != inode or used < known.used:
            known = Layout(inode)
        if used > known.used:
            known = known.grown(data, used)
        numbers = known.numbers.unpack_from(data)
        mode = rest[0] if len(rest) > 1 else ""
        return known, Part(kind, mode, rest[-1], known.keys, numbers)
    return None


def _content(path: Path, used: int) -> tuple[int, bytes]:
    """The file's inode and what is used of it, which is mostly far less than its size."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        inode = os.fstat(file).st_ino
        data = os.pread(file, max(used, _FIRST_LOOK_BYTES), 0)
        (used,) = _integer_at(data, 0)
        while len(data) < used and (more := os.pread(file, used - len(data), len(data))):
            data += more
        return inode, data
    finally:
        os.close(file)
