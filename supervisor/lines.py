"""Cutting a byte stream into lines with a bound on memory; JSON objects on such lines."""

import json
from collections.abc import Mapping


class LineBuffer:
    """Holds the unfinished last line; a line longer than `limit_bytes` is cut there."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends."""
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > self._limit:
            lines.append(rest[: self._limit])
            rest = rest[self._limit :]
        self._rest = rest
        return lines

    def take_rest(self) -> bytes:
        """The unfinished line, at the end of the stream."""
        rest, self._rest = self._rest, b""
        return rest


def encode_frame(frame: Mapping[str, object]) -> bytes:
    """One JSON object as one line."""
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def decode_frame(line: bytes) -> dict[str, object]:
    """The JSON object on a line.

    Raises:
        ValueError: it is something else.
    """
    try:
        frame = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(frame, dict):
        raise ValueError("not a JSON object")
    return frame
