"""One request each on a connection of its own: what is answered, and is the connection kept."""

from dataclasses import dataclass

import pytest

from tests.integration.http.conftest import Site

CODES = {
    400: "malformed",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    431: "header_too_large",
}


@dataclass(frozen=True)
class Row:
    """Bytes to send, and the answer that they must get."""

    name: str
    request: bytes
    status: int
    is_kept: bool = False

    @property
    def code(self) -> str:
        return CODES.get(self.status, "")


def bad(name: str, request: bytes) -> Row:
    """Not HTTP, or HTTP in two ways: the connection can not be used any more."""
    return Row(name, request, 400)


def kept(name: str, request: bytes, status: int) -> Row:
    """The connection serves on, whatever the answer is."""
    return Row(name, request, status, is_kept=True)


def get(
    *fields: bytes, line: bytes = b"GET /api/v1/echo HTTP/1.1", host: bytes = b"Host: a"
) -> bytes:
    return b"\r\n".join([line, *([host] if host else []), *fields, b"", b""])


def post(body: bytes, *fields: bytes, kind: bytes = b"application/json") -> bytes:
    length = b"Content-Length: %d" % len(body)
    line = b"POST /api/v1/notes HTTP/1.1"
    content = [b"Content-Type: " + kind] if kind else []
    return get(*content, length, *fields, line=line) + body


def chunked(body: bytes, *fields: bytes, path: bytes = b"notes") -> bytes:
    kind = b"Content-Type: application/json"
    line = b"POST /api/v1/%b HTTP/1.1" % path
    return get(kind, b"Transfer-Encoding: chunked", *fields, line=line) + body


NOTE = b'{"text":"abc"}'
CHUNKS = b"5\r\n" + NOTE[:5] + b"\r\n9\r\n" + NOTE[5:] + b"\r\n0\r\n\r\n"
HIDDEN = b"DELETE /api/v1/notes/aaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n"

ACCEPTED = [
    kept("a plain request", get(), 200),
    Row("HTTP/1.0 without a host", get(line=b"GET /api/v1/echo HTTP/1.0", host=b""), 200),
    Row("HTTP/1.0 with a host", get(line=b"GET /api/v1/echo HTTP/1.0"), 200),
    Row("asked to close", get(b"Connection: close"), 200),
    Row("asked to close, among other words", get(b"Connection: x, Close"), 200),
    kept("a whole URL as its target", get(line=b"GET http://b/api/v1/echo HTTP/1.1"), 200),
    kept("HEAD", get(line=b"HEAD /api/v1/echo HTTP/1.1"), 200),
    kept("a body", post(NOTE), 201),
    kept("a body in chunks", chunked(CHUNKS), 201),
    kept("chunk extensions", chunked(b"e;a=b;c\r\n" + NOTE + b"\r\n00;x\r\n\r\n"), 201),
    kept("a body that nobody asked for", get(b"Content-Length: 3") + b"abc", 200),
    kept("a charset", post(NOTE, kind=b"application/json; charset=UTF-8"), 201),
    kept("no coding", post(NOTE, b"Content-Encoding: identity"), 201),
    kept("100 fields", get(*[b"X: y"] * 99), 200),
    kept("15 KiB in one field", get(b"X: " + b"x" * 15_000), 200),
    kept("bytes over 127 in a value", get(b"X: \xe9\xff"), 200),
    kept("an empty value", get(b"X:"), 200),
    kept(
        "an upgrade to HTTP/2",
        get(
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQAAP__",
        ),
        200,
    ),
    kept(
        "an upgrade to WebSocket",
        get(
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ),
        200,
    ),
]

NOT_HTTP = [
    bad("an unknown version", get(line=b"GET /api/v1/echo HTTP/3.0")),
    bad("HTTP/0.9", b"GET /api/v1/echo\r\n\r\n"),
    bad("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    bad("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    bad("two spaces", get(line=b"GET  /api/v1/echo HTTP/1.1")),
    bad("a space in the target", get(line=b"GET /api/v1/echo x HTTP/1.1")),
    bad("a tab for a space", get(line=b"GET\t/api/v1/echo HTTP/1.1")),
    bad("a space at the end", get(line=b"GET /api/v1/echo HTTP/1.1 ")),
    bad("a target without a slash", get(line=b"GET api/v1/echo HTTP/1.1")),
    bad("a tunnel", get(line=b"CONNECT a:80 HTTP/1.1")),
    bad("bytes over 127 in the target", get(line=b"GET /\xff HTTP/1.1")),
    bad("a control character in the target", get(line=b"GET /\x7f HTTP/1.1")),
    bad("an empty line first", b"\r\n" + get()),
    bad("a space first", b" " + get()),
    bad("lower-case http", get(line=b"GET /api/v1/echo http/1.1")),
    bad("bare line feeds", get().replace(b"\r\n", b"\n")),
    bad("one bare line feed", get(b"X: y\nZ: z")),
    bad("a bare line feed at the end", get()[:-2] + b"\n"),
    bad("a bare carriage return", get(b"X: y\rZ: z")),
    bad("NUL in a value", get(b"X: a\0b")),
    bad("a control character in a value", get(b"X: a\x01b")),
    bad("NUL in a name", get(b"X\0: b")),
    bad("a name of nothing", get(b": b")),
    bad("a field without a colon", get(b"Nonsense")),
    bad("a space before the colon", get(b"X : b")),
    bad("a tab before the colon", get(b"X\t: b")),
    bad("a space before the name", get(b" X: b")),
    bad("a folded line", get(b"X: a", b"  b")),
    bad("a folded line first", get(b"X: a", host=b" Host: a")),
    bad("bytes over 127 in a name", get(b"\xc3\xa9: b")),
    bad("no host", get(host=b"")),
    bad("two hosts", get(b"Host: a")),
    bad("two hosts in HTTP/1.0", get(b"Host: b", line=b"GET / HTTP/1.0")),
    bad("an empty host", get(host=b"Host:")),
    bad("two hosts in one", get(host=b"Host: a, b")),
    bad("a user in the host", get(host=b"Host: me@a")),
    bad("a path in the host", get(host=b"Host: a/b")),
    Row("101 fields", get(*[b"X: y"] * 100), 431),
    Row("a field of 17 KiB", get(b"X: " + b"x" * 17_000), 431),
    Row("a field of 40 KiB", get(b"X: " + b"x" * 40_000), 431),
    Row("a target of 17 KiB", get(line=b"GET /" + b"x" * 17_000 + b" HTTP/1.1"), 431),
    Row("an endless line", b"GET /" + b"x" * 200_000, 431),
    Row("endless fields", get()[:-2] + b"X: y\r\n" * 500, 431),
]

# Each of them has been a way to hide a second request from a proxy in front.
SMUGGLING = [
    bad("length and chunks", chunked(b"0\r\n\r\n" + HIDDEN, b"Content-Length: 4")),
    bad(
        "chunks and length",
        get(
            b"Content-Length: 4", b"Transfer-Encoding: chunked", line=b"POST /api/v1/notes HTTP/1.1"
        )
        + b"0\r\n\r\n"
        + HIDDEN,
    ),
    bad("two lengths", post(NOTE, b"Content-Length: 3")),
    bad("the same length twice", post(NOTE, b"Content-Length: 14")),
    bad("a list of lengths", get(b"Content-Length: 3, 3") + b"abc"),
    bad("a signed length", get(b"Content-Length: +3") + b"abc"),
    bad("a negative length", get(b"Content-Length: -3") + b"abc"),
    bad("a length in hexadecimal", get(b"Content-Length: 0x3") + b"abc"),
    bad("a length with a separator", get(b"Content-Length: 1_0") + b"abc"),
    bad("a length in parts", get(b"Content-Length: 3 3") + b"abc"),
    bad("a length with a fraction", get(b"Content-Length: 3.0") + b"abc"),
    bad("an empty length", get(b"Content-Length:") + b"abc"),
    bad("an endless length", get(b"Content-Length: " + b"9" * 30)),
    bad("a space after Content-Length", get(b"Content-Length : 3") + b"abc"),
    bad("a folded length", get(b"Content-Length:", b" 3") + b"abc"),
    bad("a hidden coding", chunked(CHUNKS).replace(b"Encoding:", b"Encoding :")),
    bad("a coding after a vertical tab", chunked(CHUNKS).replace(b": chunked", b":\x0bchunked")),
    bad("a coding in quotes", chunked(CHUNKS).replace(b": chunked", b': "chunked"')),
    bad("a misspelt coding", chunked(CHUNKS).replace(b"chunked", b"xchunked")),
    bad("two codings", chunked(CHUNKS, b"Transfer-Encoding: identity")),
    bad("chunked twice", chunked(CHUNKS, b"Transfer-Encoding: chunked")),
    bad("a list of codings", chunked(CHUNKS).replace(b"chunked", b"gzip, chunked")),
    bad("chunked and then something", chunked(CHUNKS).replace(b"chunked", b"chunked;q=1")),
    bad("an empty coding", chunked(CHUNKS).replace(b": chunked", b":")),
    bad("chunks in HTTP/1.0", chunked(CHUNKS).replace(b"HTTP/1.1", b"HTTP/1.0")),
    bad("a length after a bare line feed", get(b"X: y\nContent-Length: 3") + b"abc"),
    bad("a length after a bare return", get(b"X: y\rContent-Length: 3") + b"abc"),
    bad("a chunk without a size", chunked(b"\r\nabc\r\n0\r\n\r\n")),
    bad("a chunk size that is no number", chunked(b"zz\r\nabc\r\n0\r\n\r\n")),
    bad("a signed chunk size", chunked(b"+3\r\nabc\r\n0\r\n\r\n")),
    bad("a negative chunk size", chunked(b"-1\r\nabc\r\n0\r\n\r\n")),
    bad("a prefixed chunk size", chunked(b"0x3\r\nabc\r\n0\r\n\r\n")),
    bad("an endless chunk size", chunked(b"f" * 400)),
    bad("a chunk size over 64 bits", chunked(b"1" + b"0" * 16 + b"\r\nabc")),
    bad("a space after the chunk size", chunked(b"3 \r\nabc\r\n0\r\n\r\n")),
    bad("a chunk that is longer than it says", chunked(b"3\r\nabcdef\r\n0\r\n\r\n")),
    bad("a chunk line that ends in a line feed", chunked(b"3\nabc\r\n0\r\n\r\n")),
    bad("a line feed in a chunk extension", chunked(b"3;a\nb\r\nabc\r\n0\r\n\r\n")),
    bad("a return in a chunk extension", chunked(b"3;a\rb\r\nabc\r\n0\r\n\r\n")),
    bad("an endless chunk extension", chunked(b"3;" + b"a" * 1_000)),
    bad("a trailer", chunked(b"0\r\nHost: b\r\n\r\n")),
    bad("a last chunk that ends in a line feed", chunked(b"0\r\n\n" + HIDDEN)),
    bad("bad chunks that nobody reads", chunked(b"zz\r\n", path=b"ring")),
]

BODIES = [
    kept("an empty body", post(b""), 400),
    kept(
        "no body", get(b"Content-Type: application/json", line=b"POST /api/v1/notes HTTP/1.1"), 400
    ),
    kept("no JSON", post(b"text=abc"), 400),
    kept("a key twice", post(b'{"text":"a","text":"b"}'), 400),
    kept("NUL in a text", post(b'{"text":"\\u0000"}'), 400),
    kept("deep nesting", post(b'{"text":' + b"[" * 100_000), 400),
    kept("a byte order mark", post(b"\xef\xbb\xbf" + NOTE), 400),
    kept("UTF-16", post('{"text":"a"}'.encode("utf-16")), 400),
    kept("NaN", post(b'{"text":"a","number":NaN}'), 400),
    kept("an integer over 2^53", post(b'{"text":"a","number":9007199254740993}'), 422),
    kept("an operator for a text", post(b'{"text":{"$ne":1}}'), 422),
    kept("an unknown field", post(b'{"text":"a","$where":"1"}'), 422),
    kept("a form", post(NOTE, kind=b"application/x-www-form-urlencoded"), 415),
    kept("text", post(NOTE, kind=b"text/plain"), 415),
    kept("no type", post(NOTE, kind=b""), 415),
    kept("another charset", post(NOTE, kind=b"application/json; charset=latin-1"), 415),
    kept("two types", post(NOTE, b"Content-Type: text/plain"), 415),
    kept("a compressed body", post(NOTE, b"Content-Encoding: gzip"), 415),
    kept(
        "two codings of the content",
        post(NOTE, b"Content-Encoding: gzip", b"Content-Encoding: identity"),
        415,
    ),
    Row("a body over the limit", post(b" " * 1_100_000), 413),
    Row("chunks over the limit", chunked(b"10c8e0\r\n" + b" " * 1_100_000), 413),
    Row("too much for a route without a body", get(b"Content-Length: 2000000"), 413),
    kept("another method", get(line=b"PUT /api/v1/echo HTTP/1.1"), 405),
    kept("a method in lower case", get(line=b"get /api/v1/echo HTTP/1.1"), 405),
    kept("a made-up method", get(line=b"BREW /api/v1/echo HTTP/1.1"), 405),
    kept("TRACE", get(line=b"TRACE /api/v1/echo HTTP/1.1"), 405),
    kept("an unknown path", get(line=b"GET /nowhere HTTP/1.1"), 404),
    kept("an id of no shape", get(line=b"DELETE /api/v1/notes/%00 HTTP/1.1"), 404),
    kept("a query that is not UTF-8", get(line=b"GET /api/v1/search?limit=%FF HTTP/1.1"), 422),
    kept("a parameter twice", get(line=b"GET /api/v1/search?limit=1&limit=2 HTTP/1.1"), 422),
    kept("a parameter where there is none", get(line=b"GET /api/v1/echo?a=b HTTP/1.1"), 422),
]

ROWS = [*ACCEPTED, *NOT_HTTP, *SMUGGLING, *BODIES]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_request_gets_its_answer(site: Site, row: Row) -> None:
    answer, is_kept = await site.ask(row.request)
    assert (answer.status, answer.code) == (row.status, row.code)
    assert is_kept is row.is_kept
    assert is_kept is (answer.headers.get("connection") != "close")


@pytest.mark.parametrize("row", [*NOT_HTTP, *SMUGGLING], ids=lambda row: row.name)
async def test_a_refusal_is_a_problem_like_any_other(site: Site, row: Row) -> None:
    answer, _ = await site.ask(row.request)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    assert problem["requestId"] == answer.headers["x-request-id"]
    assert problem["status"] == answer.status
    assert problem["title"]
    assert problem["detail"]
    assert site.calls.made == []


@pytest.mark.parametrize("row", SMUGGLING, ids=lambda row: row.name)
async def test_a_hidden_request_is_never_run(site: Site, row: Row) -> None:
    async with site.connect() as connection:
        await connection.send(row.request + HIDDEN)
        await connection.answer()
        assert await connection.rest() == b""
    assert site.calls.made == []
