"""A stored file as an answer: whole, a range of it (RFC 9110, section 14), or not at all (304)."""

import base64
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from novapulse.core.errors import RangeNotSatisfiable
from novapulse.core.routing import Headers, Reply, Stream

_RANGE = re.compile(rb"bytes[ \t]*=[ \t]*([0-9]{0,18})[ \t]*-[ \t]*([0-9]{0,18})", re.IGNORECASE)
_TAG = re.compile(rb'(?:W/)?("[^"]*")')


@dataclass(frozen=True, slots=True)
class Download:
    """`read(start, end)` gives the bytes from `start` up to `end`."""

    name: str
    media_type: str
    size: int
    sha256: str
    read: Callable[[int, int], AsyncGenerator[bytes, None]]

    @property
    def etag(self) -> bytes:
        return f'"{self.sha256}"'.encode()

    def answer(self, asked: Mapping[bytes, bytes]) -> Reply | Stream:
        """What the request's headers ask for; raises RangeNotSatisfiable."""
        headers = self._headers()
        if _names(asked.get(b"if-none-match", b""), self.etag):
            return Reply(status=304, headers=headers)
        span = self._span(asked)
        if span is None:
            return Stream(self.read(0, self.size), headers=headers, size=self.size)
        start, end = span
        headers.append((b"content-range", f"bytes {start}-{end - 1}/{self.size}".encode()))
        return Stream(self.read(start, end), status=206, headers=headers, size=end - start)

    def _span(self, asked: Mapping[bytes, bytes]) -> tuple[int, int] | None:
        """The one range that is asked for; None is the whole file, as is any other wish."""
        found = _RANGE.fullmatch(asked.get(b"range", b"").strip())
        if found is None or asked.get(b"if-range", self.etag).strip() != self.etag:
            return None
        first, last = found.groups()
        if not first and not last:
            return None
        if not first:
            start, end = max(0, self.size - int(last)), self.size
        else:
            start, end = int(first), min(int(last) + 1, self.size) if last else self.size
            if last and int(last) < start:
                return None
        if start >= end:
            raise RangeNotSatisfiable(self.size)
        return start, end

    def _headers(self) -> Headers:
        digest = base64.b64encode(bytes.fromhex(self.sha256)).decode()
        return [
            (b"content-type", self.media_type.encode()),
            (b"content-disposition", f'attachment; filename="{self.name}"'.encode()),
            (b"accept-ranges", b"bytes"),
            (b"etag", self.etag),
            (b"repr-digest", f"sha-256=:{digest}:".encode()),
            # Should a browser open it after all: no scripts, nothing from elsewhere.
            (b"content-security-policy", b"sandbox; default-src 'none'; style-src 'unsafe-inline'"),
        ]


def _names(condition: bytes, etag: bytes) -> bool:
    return condition.strip() == b"*" or etag in _TAG.findall(condition)
