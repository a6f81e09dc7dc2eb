"""The supervisor's own log lines: the record, and two ways to write it."""

import json
import time
from collections.abc import Mapping

Record = Mapping[str, object]


def record(level: str, event: str, **fields: object) -> dict[str, object]:
    """One thing that happened; `time` is for people and decides nothing."""
    now = time.time_ns() // 1_000_000
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1000))
    head = {"time": f"{stamp}.{now % 1000:03}Z", "level": level, "event": event}
    return {**head, "process": "supervisor", **{k: v for k, v in fields.items() if v != ""}}


def json_line(entry: Record) -> bytes:
    """For a journal or a file."""
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode()


def plain_line(entry: Record) -> bytes:
    """For a person: `15:18:00 warning process backoff name=api-1 reason=exit 1`."""
    hidden = ("time", "level", "event", "process")
    details = " ".join(f"{key}={value}" for key, value in entry.items() if key not in hidden)
    clock = str(entry["time"])[11:19]
    return f"{clock} {entry['level']} {entry['event']} {details}".rstrip().encode()
