"""Logs: one JSON line each (pretty on a terminal), with the request's id, without secrets."""

import asyncio
import atexit
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import msgspec

# structlog loads rich for tracebacks that we format ourselves: 3 MiB and 40 ms in every process.
_rich: Any = sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None: not to be had
import structlog  # noqa: E402 - see above

if _rich is None:
    del sys.modules["rich"]

request_id_of_task: ContextVar[str] = ContextVar("request_id_of_task", default="")
job_id_of_task: ContextVar[str] = ContextVar("job_id_of_task", default="")
trace_id_of_task: ContextVar[str] = ContextVar("trace_id_of_task", default="")
# What every line of a story carries, unless it says otherwise itself.
_STORY = (
    ("requestId", request_id_of_task),
    ("jobId", job_id_of_task),
    ("traceId", trace_id_of_task),
)

MAX_LINE_BYTES = 8 * 1024
GATHER_SECONDS = 0.01
MAX_GATHERED_LINES = 500
_SECRET_KEY = re.compile(r"password|secret|token|authorization|cookie|apikey", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(whsec_|nvp_)[A-Za-z0-9+/=_-]+|eyJ[\w-]+\.[\w-]+\.[\w-]*")
_REDACTED = "[redacted]"
Line = MutableMapping[str, Any]
_encoder = msgspec.json.Encoder(enc_hook=str)
_NUMBERS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_FOREIGN = ("hypercorn", "huey", "asyncio", "pymongo", "aiohttp")


def configure(process: str, *, level: str, style: str) -> None:
    """Set up this process's log; `style` is `json`, `pretty` or `auto` (pretty on a terminal)."""
    is_pretty = style == "pretty" or (style == "auto" and sys.stderr.isatty())
    tail: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ)]
        if is_pretty
        else [_json_line]
    )
    structlog.configure(
        # The level is judged by a processor, because loggers that were used are fixed for good.
        processors=[_drop_unimportant, _add_origin(process), _redact, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=(
            structlog.PrintLoggerFactory(sys.stderr)
            if is_pretty
            else structlog.BytesLoggerFactory(sys.stderr.buffer)
        ),
        cache_logger_on_first_use=True,
    )
    _fast.process, _fast.may_be_on = process, not is_pretty
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)
    set_level(level)


def set_level(level: str) -> None:
    """From now on write lines of `level` (`info`) and above."""
    number = logging.getLevelNamesMapping()[level.upper()]
    _threshold.number = number
    _fast.is_on = _fast.may_be_on and number <= logging.INFO
    for name in _FOREIGN:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


class _Threshold:
    number = logging.INFO


_threshold = _Threshold()


def _drop_unimportant(logger: Any, method: str, line: Line) -> Line:
    if _NUMBERS.get(method, logging.ERROR) < _threshold.number:
        raise structlog.DropEvent
    return line


def _add_origin(process: str) -> Any:
    stamper = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")

    def add(logger: Any, method: str, line: Line) -> Line:
        _fast.flush()
        stamper(logger, method, line)
        line["level"] = "error" if method == "exception" else method
        line["process"] = process
        _add_story(line)
        return line

    return add


def _add_story(line: Line) -> None:
    for name, variable in _STORY:
        if (value := variable.get()) and name not in line:
            line[name] = value


def _redact(logger: Any, method: str, line: Line) -> Line:
    """Blank what is secret by its key or by its looks; format the exception, if any."""
    if line.pop("exc_info", None):
        line["exception"] = traceback.format_exc()
    for key, value in line.items():
        if _SECRET_KEY.search(key):
            line[key] = _REDACTED
        elif isinstance(value, str) and len(value) > 8:
            line[key] = _SECRET_VALUE.sub(_REDACTED, value)
    return line


def _json_line(logger: Any, method: str, line: Line) -> bytes:
    kept = {key: value for key, value in line.items() if value is not None}
    raw = _encoder.encode(kept)
    if len(raw) > MAX_LINE_BYTES:
        cut = {key: value for key, value in kept.items() if len(str(value)) < 512}
        raw = _encoder.encode(cut | {"truncated": True})
    return raw


class _Fast:
    """Info lines of the hot paths: gathered, and written together a moment later.

    A line that comes another way writes them first, so the order stays; so does the
    process's end. Only a kill, which lets nobody do anything, loses the last moment.
    """

    def __init__(self) -> None:
        self.process = ""
        self.is_on = False
        self.may_be_on = False
        self._lines: list[bytes] = []
        self._due_in: asyncio.AbstractEventLoop | None = None
        self._second = (0, "")

    def now(self) -> str:
        """The time as lines carry it; what two lines of a second share is written once."""
        second, milliseconds = divmod(time.time_ns() // 1_000_000, 1_000)
        if self._second[0] != second:
            start = datetime.fromtimestamp(second, UTC).isoformat()
            self._second = (second, start.removesuffix("+00:00"))
        return f"{self._second[1]}.{milliseconds:03}Z"

    def add(self, line: Line) -> None:
        self._lines.append(_json_line(None, "info", line))
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no loop: nobody would come back to write it
            self.flush()
            return
        if len(self._lines) >= MAX_GATHERED_LINES:
            self.flush()
        elif loop is not self._due_in:
            self._due_in = loop
            loop.call_later(GATHER_SECONDS, self._flush_due)

    def _flush_due(self) -> None:
        self._due_in = None
        self.flush()

    def flush(self) -> None:
        if self._lines:
            data, self._lines = b"\n".join(self._lines) + b"\n", []
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()


_fast = _Fast()
atexit.register(_fast.flush)


def write(event: str, **fields: Any) -> None:
    """One info line of a hot path, a sixth of the price of `log.info`.

    It has the same form, but nothing is redacted: give it ids, numbers and words
    of ours only.
    """
    if _threshold.number > logging.INFO:
        return
    if not _fast.is_on:  # pretty
        structlog.get_logger().info(event, **fields)
        return
    line = {
        "time": _fast.now(),
        "level": "info",
        "event": event,
        "process": _fast.process,
        **fields,
    }
    _add_story(line)
    _fast.add(line)


class _Forward(logging.Handler):
    """What libraries log through the standard module becomes a line of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name)
        fields: dict[str, Any] = {"message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = repr(record.exc_info[1])
        getattr(logger, record.levelname.lower(), logger.info)(record.name, **fields)


def process_name() -> str:
    """The supervisor's name for this incarnation, or our pid outside one."""
    return os.environ.get("NOVAPULSE_INSTANCE", f"pid-{os.getpid()}")
