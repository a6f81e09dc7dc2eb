"""Where the lines of all processes go: our own stderr, and files when there is a root."""

import re
from pathlib import Path

from supervisor.sinks import FileSink, LogSink, StreamSink

# mongod can not be told to keep its routine to itself; hundreds of lines a start
# would bury ours. Its file has all of them.
_ROUTINE = b'"s":"I"'
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


class Stream:
    """stderr, without mongod's routine."""

    def __init__(self) -> None:
        self._sink = StreamSink()

    def write(self, name: str, line: bytes) -> None:
        if name != "mongod" or _ROUTINE not in line:
            self._sink.write(name, line)

    def flush(self) -> None:
        self._sink.flush()

    def waiting_fd(self) -> int | None:
        return self._sink.waiting_fd()

    def close(self) -> None:
        self._sink.close()


class Both:
    """The stream for who watches, the files for who comes later."""

    def __init__(self, directory: Path) -> None:
        self._stream = Stream()
        self._files = FileSink(directory)

    def write(self, name: str, line: bytes) -> None:
        self._stream.write(name, line)
        self._files.write(name, _COLOUR.sub(b"", line) if b"\x1b" in line else line)

    def flush(self) -> None:
        self._stream.flush()
        self._files.flush()

    def waiting_fd(self) -> int | None:
        return self._stream.waiting_fd()  # a file never makes us wait

    def close(self) -> None:
        self._stream.close()
        self._files.close()


def open_sink(directory: Path | None) -> LogSink:
    """stderr alone (a journal keeps it), or also rotating files in `directory`."""
    return Stream() if directory is None else Both(directory)
