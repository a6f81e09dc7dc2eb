"""Where lines go: our own stream or rotating files. A stuck one costs lines, never time.

The supervisor hands over whole lines and flushes once a round; what can not be written
then waits in a bounded buffer, and what does not fit is dropped and counted in a notice.
"""

import os
import select
import socket
import stat
import time
from pathlib import Path
from typing import Protocol

_PIPE_BUF = select.PIPE_BUF
_LAST_WORDS_SECONDS = 1.0


class LogSink(Protocol):
    """Takes the lines of all processes; no method may block or raise."""

    def write(self, name: str, line: bytes) -> None:
        """Take one line (without its end) of the process `name`."""

    def flush(self) -> None:
        """Write what can be written now."""

    def waiting_fd(self) -> int | None:
        """What to wait on, for writing, before the next flush; None when all is written."""

    def close(self) -> None:
        """Flush a last time and let go; may take a second."""


def dropped_notice(count: int) -> bytes:
    return b"%d log lines dropped: the log did not take them" % count


class Outlet:
    """Writes to an inherited descriptor without blocking, and without changing it.

    O_NONBLOCK belongs to the open file, which we share with whoever started us, so it is
    never set: a pipe or terminal is opened anew, a socket is asked per call.
    """

    def __init__(self, fd: int) -> None:
        mode = os.fstat(fd).st_mode
        self._socket: socket.socket | None = None
        self._may_block = False
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(fd))
            self.fd = self._socket.fileno()
        elif stat.S_ISREG(mode):
            self.fd = os.dup(fd)
        else:
            self.fd = self._reopen(fd)

    def write(self, data: bytes) -> int:
        """The number of bytes that were taken.

        Raises:
            BlockingIOError: none now.
            OSError: none ever again.
        """
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if self._may_block:
            if not _is_writable(self.fd, within_seconds=0):
                raise BlockingIOError
            data = data[:_PIPE_BUF]  # as much as a writable pipe takes for sure (pipe(7))
        return os.write(self.fd, data)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self.fd)

    def _reopen(self, fd: int) -> int:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        try:
            return os.open(f"/proc/self/fd/{fd}", flags)
        except OSError:  # another user's terminal, or a pipe that nobody reads any more
            self._may_block = True
            return os.dup(fd)


def _is_writable(fd: int, *, within_seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(within_seconds * 1000))


class StreamSink:
    """Lines to one stream, on a terminal as `name | line`, otherwise as they are."""

    def __init__(self, fd: int = 2, *, limit_bytes: int = 1 << 20) -> None:
        self._outlet: Outlet | None = Outlet(fd)
        self._has_names = os.isatty(fd)
        self._limit = limit_bytes
        self._buffer = bytearray()
        self._dropped = 0

    def write(self, name: str, line: bytes) -> None:
        text = name.encode() + b" | " + line + b"\n" if self._has_names else line + b"\n"
        if self._outlet is None or len(self._buffer) + len(text) > self._limit:
            self._dropped += 1
            return
        self._buffer += text

    def flush(self) -> None:
        while self._outlet is not None and self._buffer:
            try:
                del self._buffer[: self._outlet.write(bytes(self._buffer[:65536]))]
            except BlockingIOError:
                return
            except OSError:
                self._break()
                return
            if not self._buffer and self._dropped:
                count, self._dropped = self._dropped, 0
                self.write("supervisor", dropped_notice(count))

    def waiting_fd(self) -> int | None:
        return self._outlet.fd if self._outlet is not None and self._buffer else None

    def close(self) -> None:
        """Flush a last time; a slow reader gets a moment, because last words tell most."""
        deadline = time.monotonic() + _LAST_WORDS_SECONDS
        self.flush()
        while (fd := self.waiting_fd()) is not None and (left := deadline - time.monotonic()) > 0:
            _is_writable(fd, within_seconds=left)
            self.flush()
        self._break()

    def _break(self) -> None:
        """The reader is gone for good; go on without a log."""
        self._buffer.clear()
        if self._outlet is not None:
            self._outlet.close()
            self._outlet = None


class FileSink:
    """One file a process, `<name>.log`, and `keep` former ones, `<name>.log.1` the youngest."""

    def __init__(self, directory: Path, *, max_bytes: int = 10 << 20, keep: int = 5) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._keep = keep
        self._files: dict[str, _RotatingFile] = {}

    def write(self, name: str, line: bytes) -> None:
        file = self._files.get(name)
        if file is None:
            path = self._directory / f"{name.replace('/', '_')}.log"
            file = self._files[name] = _RotatingFile(path, self._max_bytes, self._keep)
        file.add(line)

    def flush(self) -> None:
        for file in self._files.values():
            file.flush()

    def waiting_fd(self) -> int | None:
        return None

    def close(self) -> None:
        self.flush()
        for file in self._files.values():
            file.close()
        self._files.clear()


class _RotatingFile:
    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._fd: int | None = None
        self._size = 0
        self._lines: list[bytes] = []
        self._dropped = 0

    def add(self, line: bytes) -> None:
        self._lines.append(line)

    def flush(self) -> None:
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        if self._dropped:
            lines.insert(0, dropped_notice(self._dropped))
        data = b"\n".join(lines) + b"\n"
        try:
            fd = self._open(len(data))
            written = os.write(fd, data)
            if written < len(data):  # a full disk takes a part; do not leave half a line
                os.ftruncate(fd, self._size)
                raise OSError("disk full")
            self._size += written
            self._dropped = 0
        except OSError:
            self._dropped += len(lines) - bool(self._dropped)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self, coming: int) -> int:
        fd = self._open_current()
        if self._size > 0 and self._size + coming > self._max_bytes:
            self._rotate()
            fd = self._open_current()
        return fd

    def _open_current(self) -> int:
        if self._fd is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o640)
            self._size = os.fstat(self._fd).st_size
        return self._fd

    def _rotate(self) -> None:
        self.close()
        names = [self._path, *(Path(f"{self._path}.{n}") for n in range(1, self._keep + 1))]
        if self._keep < 1:
            self._path.unlink(missing_ok=True)
        for older, younger in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            if younger.exists():
                younger.replace(older)
