"""Where the lines of all processes go: our own stderr, and files when there is a root."""

from pathlib import Path

from supervisor.sinks import FileSink, LogSink, StreamSink


class Both:
    """The stream for who watches, the files for who comes later."""

    def __init__(self, stream: LogSink, files: LogSink) -> None:
        self._stream = stream
        self._files = files

    def write(self, name: str, line: bytes) -> None:
        self._stream.write(name, line)
        self._files.write(name, line)

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
    if directory is None:
        return StreamSink()
    return Both(StreamSink(), FileSink(directory))
