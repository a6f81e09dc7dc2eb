"""Where a request begins and ends, checked before h11 reads it; pure, no I/O.

h11 is lenient where servers and proxies disagree, and disagreement about the
end of a request is how one request is smuggled inside another.
"""

import re

from novapulse.core.errors import HeaderTooLarge, Malformed

MAX_HEAD_BYTES = 16_384
MAX_FIELDS = 100
_MAX_CHUNK_LINE_BYTES = 256

_NAME = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
_TARGET = rb"(?:/|\*|https?://[^/?#\x00-\x20\x7f-\xff]++)[\x21-\x7e]*+"
_HEAD = re.compile(
    rb"[A-Za-z](?:%(name)b)? %(target)b HTTP/1\.[01]\r\n(?:%(name)b:%(value)b\r\n)*+\r\n"
    % {b"name": _NAME, b"target": _TARGET, b"value": _VALUE}
)
# The three below read a head in lower case whose grammar is right.
_HOST = re.compile(
    rb"\r\nhost:[ \t]*+(?:[a-z0-9._~%-]++|\[[0-9a-f:.]++\])(?::[0-9]{0,5})?[ \t]*+\r\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*+[0-9]{1,15}[ \t]*+\r\n")
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*+chunked[ \t]*+\r\n")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,12})(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_ABSOLUTE = re.compile(rb"https?://([^/?#]++)(.*)")


def check_head(head: bytes) -> None:
    """A request's head with its empty line.

    Raises:
        HeaderTooLarge: too many bytes or fields.
        Malformed: not HTTP/1, or its framing can be read in two ways.
    """
    if len(head) > MAX_HEAD_BYTES or head.count(b"\n") - 2 > MAX_FIELDS:
        raise _too_large()
    if not _HEAD.fullmatch(head):
        raise Malformed("The request line or a header field is not valid HTTP/1.1")
    lowered = head.lower()
    is_current = lowered[: lowered.index(b"\r\n")].endswith(b"1.1")
    hosts = lowered.count(b"\r\nhost:")
    if hosts != 1 and (hosts or is_current):
        raise Malformed("A request has exactly one Host")
    if hosts and not _HOST.search(lowered):
        raise Malformed("The Host is not a host")
    lengths = lowered.count(b"\r\ncontent-length:")
    codings = lowered.count(b"\r\ntransfer-encoding:")
    if lengths + codings > 1:
        raise Malformed("The length of the body is told more than once")
    if lengths and not _LENGTH.search(lowered):
        raise Malformed("The Content-Length is not a number")
    if codings and not (is_current and _CHUNKED.search(lowered)):
        raise Malformed("The only Transfer-Encoding is chunked, in HTTP/1.1")


def check_part_of_head(part: bytes) -> None:
    """A head that is still coming: refuse early what can not become a good one."""
    if len(part) > MAX_HEAD_BYTES or part.count(b"\n") - 1 > MAX_FIELDS:
        raise _too_large()
    if not part[:1].isalpha() or part.count(b"\n") != part.count(b"\r\n"):
        raise Malformed("This is not HTTP/1.1")


def _too_large() -> HeaderTooLarge:
    return HeaderTooLarge(f"A header has at most {MAX_FIELDS} fields and {MAX_HEAD_BYTES} bytes")


def origin_form(target: bytes) -> tuple[bytes, bytes | None]:
    """`http://host/path` as a path and the host that it names, which beats the Host field."""
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        return target, None
    host, path = found.groups()
    return (path if path.startswith(b"/") else b"/" + path), host


def merge(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """One field for each name; a list for a field that came more than once (RFC 9110, 5.3)."""
    merged: dict[bytes, bytes] = {}
    for name, value in headers:
        separator = b"; " if name == b"cookie" else b", "
        merged[name] = merged[name] + separator + value if name in merged else value
    return merged


class ChunkLines:
    """Reads along in a chunked body and raises Malformed where h11 would look away.

    That is whitespace or control characters in a line, and trailers: nobody
    here reads them, and their end is found in different ways.
    """

    def __init__(self) -> None:
        self._pending = b""  # the beginning of a line
        self._skip = 0  # what is left of a chunk's data, with its CRLF
        self._is_complete = False

    def feed(self, data: bytes) -> None:
        """More of the body; what comes after its end is of no interest here."""
        if self._is_complete:
            return
        data = self._pending + data
        at, self._pending = self._skip, b""
        while at < len(data):
            line = _CHUNK_LINE.match(data, at)
            if line is None:
                self._keep_part(data[at:])
                return
            size = int(line[1], 16)
            if size == 0:
                self._end(data[line.start() :], data[line.end() : line.end() + 2])
                return
            at = line.end() + size + 2
        self._skip = at - len(data)

    def _keep_part(self, line: bytes) -> None:
        if b"\n" in line or len(line) > _MAX_CHUNK_LINE_BYTES:
            raise Malformed("A chunk does not begin with its size")
        self._pending, self._skip = line, 0

    def _end(self, last_chunk: bytes, after: bytes) -> None:
        if not b"\r\n".startswith(after):
            raise Malformed("Trailers are not accepted")
        self._is_complete = len(after) == 2
        self._pending, self._skip = last_chunk, 0
