"""Reading the log files of a root: their ends, whole stories, and what is still to come.

The files are the supervisor's: `<process>.log`, and former ones as `<process>.log.1` and up.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_BLOCK_BYTES = 64 * 1024
_LOOK_SECONDS = 0.2
# Read further back than is shown, to the line that says when a traceback was written.
_TRACE_LINES = 200
_ISO = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?")
_REDIS = re.compile(rb"^\d+:\S+ (\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) ")


@dataclass(frozen=True, slots=True)
class LogLine:
    """`at` is a Unix time; a line without one of its own has its predecessor's."""

    at: float
    name: str
    text: str


class LogFiles:
    """The log files in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> list[str]:
        """The processes that ever wrote something here."""
        return sorted(path.stem for path in self._directory.glob("*.log"))

    def matching(self, target: str | None) -> list[str]:
        """Those of a name or a role (`api`, `consumer:webhook`); without one all of them."""
        names = self.names()
        if target is None or target in names:
            return names if target is None else [target]
        is_consumer = target == "consumer"
        prefix = target.removeprefix("consumer:")
        slot = re.compile(rf"{re.escape(prefix)}-\d+" if not is_consumer else r"(?!api-).+-\d+")
        return [name for name in names if slot.fullmatch(name)]

    def read(self, names: Sequence[str], *, limit: int | None, holding: str = "") -> list[LogLine]:
        """The last `limit` lines of all together, oldest first; only those `holding` a text.

        Without a limit the rotated files are read too.
        """
        found: list[LogLine] = []
        for name in names:
            current = self._directory / f"{name}.log"
            data = _tail(current, limit + _TRACE_LINES) if limit else _whole(current)
            found += _lines(name, data)
        found = [line for line in found if holding in line.text]
        found.sort(key=lambda line: line.at)
        return found[-limit:] if limit else found

    def follow(self, names: Callable[[], Sequence[str]], *, holding: str = "") -> Iterator[LogLine]:
        """What is written from now on, for ever; `names` is asked again for new processes."""
        tails = {name: _Tail(self._path(name), from_end=True) for name in names()}
        try:
            while True:
                for name in names():
                    if name not in tails:
                        tails[name] = _Tail(self._path(name), from_end=False)
                for name, tail in tails.items():
                    found = _lines(name, tail.read())
                    yield from (line for line in found if holding in line.text)
                time.sleep(_LOOK_SECONDS)
        finally:
            for tail in tails.values():
                tail.close()

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.log"


class _Tail:
    """One growing file, also over its rotation."""

    def __init__(self, path: Path, *, from_end: bool) -> None:
        self._path = path
        self._fd: int | None = None
        self._rest = b""
        self._open(from_end=from_end)

    def read(self) -> bytes:
        """The whole lines since the last call."""
        data = self._rest + self._new_bytes()
        if self._was_rotated():
            self.close()
            self._open(from_end=False)
            data += self._new_bytes()
        complete, end, self._rest = data.rpartition(b"\n")
        return complete + end

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self, *, from_end: bool) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        if from_end:
            os.lseek(self._fd, 0, os.SEEK_END)

    def _new_bytes(self) -> bytes:
        chunks = []
        while self._fd is not None and (chunk := os.read(self._fd, _BLOCK_BYTES)):
            chunks.append(chunk)
        return b"".join(chunks)

    def _was_rotated(self) -> bool:
        try:
            present = self._path.stat()
        except FileNotFoundError:
            return False
        if self._fd is None:
            return True
        own = os.fstat(self._fd)
        return (own.st_dev, own.st_ino) != (present.st_dev, present.st_ino)


def _tail(path: Path, lines: int) -> bytes:
    """The last lines of a file, read from its end."""
    try:
        with path.open("rb") as file:
            left = file.seek(0, os.SEEK_END)
            data = b""
            while left > 0 and data.count(b"\n") <= lines:
                size = min(_BLOCK_BYTES, left)
                left -= size
                file.seek(left)
                data = file.read(size) + data
    except FileNotFoundError:
        return b""
    return b"\n".join(data.splitlines()[-lines:])


def _whole(path: Path) -> bytes:
    """All that is kept of a process's log, the oldest file first."""
    former = sorted(
        path.parent.glob(f"{path.name}.*"), key=lambda one: int(one.suffix[1:]), reverse=True
    )
    data = b""
    for one in (*former, path):
        try:
            data += one.read_bytes()
        except FileNotFoundError:
            pass  # rotated away just now
    return data


def _lines(name: str, data: bytes) -> Iterator[LogLine]:
    at = 0.0
    for raw in data.splitlines():
        at = _moment(raw) or at
        yield LogLine(at, name, raw.decode("utf-8", "replace"))


def _moment(raw: bytes) -> float | None:
    """When a line says that it was written: ours, mongod's and Redis's are all in UTC."""
    if (match := _ISO.search(raw[:200])) is not None:
        moment = datetime.fromisoformat(match[0].decode()[:23])
    elif (match := _REDIS.match(raw)) is not None:
        moment = datetime.strptime(match[1].decode(), "%d %b %Y %H:%M:%S.%f")  # noqa: DTZ007 - UTC is put in below
    else:
        return None
    return moment.replace(tzinfo=UTC).timestamp()
