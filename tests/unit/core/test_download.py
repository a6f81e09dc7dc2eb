"""Which part of a file a request asks for."""

import hashlib
from collections.abc import AsyncGenerator

import pytest

from novapulse.core.download import Download
from novapulse.core.errors import RangeNotSatisfiable
from novapulse.core.routing import Reply, Stream

DATA = bytes(range(100))


async def read(start: int, end: int) -> AsyncGenerator[bytes, None]:
    yield DATA[start:end]


def download(size: int = len(DATA)) -> Download:
    digest = hashlib.sha256(DATA).hexdigest()
    return Download("a.csv", "text/csv", size=size, sha256=digest, read=read)


async def asked(**headers: bytes) -> tuple[int, bytes, dict[bytes, bytes]]:
    given = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    answer = download().answer(given)
    if isinstance(answer, Reply):
        return answer.status, answer.body, dict(answer.headers)
    body = b"".join([piece async for piece in answer.chunks])
    assert answer.size == len(body)
    return answer.status, body, dict(answer.headers)


@pytest.mark.parametrize(
    ("span", "start", "end"),
    [
        (b"bytes=0-0", 0, 1),
        (b"bytes=10-19", 10, 20),
        (b"bytes=90-", 90, 100),
        (b"bytes=90-1000", 90, 100),
        (b"bytes=-5", 95, 100),
        (b"bytes=-1000", 0, 100),
        (b" Bytes = 3 - 4 ", 3, 5),
    ],
)
async def test_one_range_is_given(span: bytes, start: int, end: int) -> None:
    status, body, headers = await asked(range=span)
    assert (status, body) == (206, DATA[start:end])
    assert headers[b"content-range"] == f"bytes {start}-{end - 1}/100".encode()


@pytest.mark.parametrize(
    "span",
    [
        *(b"", b"bytes", b"bytes=", b"bytes=-", b"bytes=a-b", b"bytes=9-3", b"bytes=1-2,5-6"),
        *(b"items=1-2", b"bytes=+1-2", b"bytes=1-2-3", b"bytes=" + b"9" * 19 + b"-"),
    ],
)
async def test_any_other_wish_gets_all_of_it(span: bytes) -> None:
    status, body, headers = await asked(range=span)
    assert (status, body) == (200, DATA)
    assert b"content-range" not in headers


@pytest.mark.parametrize("span", [b"bytes=100-", b"bytes=100-200", b"bytes=-0"])
async def test_a_range_beyond_the_end_is_refused_with_the_size(span: bytes) -> None:
    with pytest.raises(RangeNotSatisfiable) as refused:
        await asked(range=span)
    assert refused.value.size == 100


def test_an_empty_file_has_no_range_but_is_there() -> None:
    with pytest.raises(RangeNotSatisfiable):
        download(size=0).answer({b"range": b"bytes=0-"})
    assert isinstance(download(size=0).answer({}), Stream)


async def test_conditions_go_by_the_hash() -> None:
    etag = download().etag
    for condition in (etag, b"W/" + etag, b'"a", ' + etag, b"*"):
        assert (await asked(if_none_match=condition))[:2] == (304, b"")
    assert (await asked(if_none_match=b'"a"'))[0] == 200
    assert (await asked(range=b"bytes=0-0", if_range=etag))[0] == 206
    assert (await asked(range=b"bytes=0-0", if_range=b'"a"'))[0] == 200
    assert (await asked(range=b"bytes=0-0", if_range=b"Mon, 23 Nov 2026 12:00:00 GMT"))[0] == 200
