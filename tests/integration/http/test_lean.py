"""The lean path beside Hypercorn's: the same verdicts on everything, and the ordinary served."""

import asyncio
import re
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from novapulse.processes import lean
from novapulse.processes.lean import LeanConnection
from novapulse.processes.protocol import StrictServer
from tests.integration.http.conftest import PROBE, Site
from tests.integration.http.test_requests import (
    CHUNKS,
    HIDDEN,
    NOTE,
    ROWS,
    Row,
    bad,
    chunked,
    get,
    kept,
    post,
)

LONG = get(b"X: " + b"x" * 2_000)
LARGE = get(line=b"GET /api/v1/large HTTP/1.1")
_STATUS = re.compile(rb"^HTTP/1\.1 (\d{3})", re.MULTILINE)

# What two parsers have been seen to read in two ways, beyond the rows that are tried everywhere.
CORPUS = [
    *ROWS,
    bad("a length that is hidden by NUL", get(b"Content-Length\0: 3") + b"abc"),
    bad("a length after a form feed", get(b"Content-Length:\x0c3") + b"abc"),
    bad("a length with an end of its own", get(b"Content-Length: 3\r") + b"abc"),
    bad("an underscore coding", post(NOTE, b"Transfer-Encoding: chunked")),
    bad("a coding on a second line", get(b"Transfer-Encoding:", b"\tchunked") + CHUNKS),
    bad("an obsolete coding", get(b"Transfer-Encoding: identity") + b"abc"),
    bad("a version with a zero", get(line=b"GET /api/v1/echo HTTP/1.01")),
    bad("a version without a digit", get(line=b"GET /api/v1/echo HTTP/1.")),
    bad("two versions", get(line=b"GET /api/v1/echo HTTP/1.1 HTTP/1.1")),
    bad("a carriage return before the request", b"\r" + get()),
    bad("a carriage return after the head", get()[:-2] + b"\r\r\n\r\n"),
    bad("a name with brackets", get(b"Content[Length]: 3")),
    kept("a name with an underscore", get(b"Content_Length: 3"), 200),
    kept("a length with leading zeros", get(b"Content-Length: 003") + b"abc", 200),
    kept("spaces around a length", get(b"Content-Length: \t 3 \t") + b"abc", 200),
    kept("a length of nothing", get(b"Content-Length: 0"), 200),
    kept("asked to be kept", get(b"Connection: keep-alive"), 200),
    kept("asked to be kept, loudly", get(b"Connection: Keep-Alive"), 200),
    kept("an unknown wish for the connection", get(b"Connection: x"), 200),
    kept("the same field twice", get(b"X: y", b"x: z"), 200),
    kept("a name that ends in a colon", get(b"X::"), 200),
    kept("an escaped path", get(line=b"GET /api/v1/%65cho HTTP/1.1"), 200),
    kept("an escaped query", get(line=b"GET /api/v1/search?limit=%31 HTTP/1.1"), 200),
    kept("two question marks", get(line=b"GET /api/v1/echo?? HTTP/1.1"), 422),
    kept("a fragment", get(line=b"GET /api/v1/echo#a HTTP/1.1"), 404),
    kept("a path of slashes", get(line=b"GET //a//b HTTP/1.1"), 404),
    kept("OPTIONS of everything", get(line=b"OPTIONS * HTTP/1.1"), 404),
    kept("a WebDAV method", get(line=b"PROPFIND /api/v1/echo HTTP/1.1"), 405),
    kept("a streaming method", get(line=b"SOURCE /api/v1/echo HTTP/1.1"), 405),
    kept("a search with M", get(line=b"M-SEARCH /api/v1/echo HTTP/1.1"), 405),
    kept("a request in a body", post(HIDDEN), 400),
]


async def heard(site: Site, data: bytes, cuts: tuple[int, ...] = ()) -> tuple[list[bytes], int]:
    """The statuses of all answers to `data`, and how many requests were run for them."""
    site.calls.made.clear()
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    async with site.connect() as connection:
        try:
            for start, end in pairwise(edges):
                await connection.send(data[start:end])
                await asyncio.sleep(0)
            connection.end()
        except OSError:
            pass  # it was refused before its end
        return _STATUS.findall(await connection.rest()), len(site.calls.made)


async def heard_by_hypercorn(
    site: Site, data: bytes, cuts: tuple[int, ...] = ()
) -> tuple[list[bytes], int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lean, "_METHODS", frozenset())  # nothing is ordinary
        return await heard(site, data, cuts)


@pytest.mark.parametrize("row", CORPUS, ids=lambda row: row.name)
async def test_both_paths_judge_alike(site: Site, row: Row) -> None:
    for data in (row.request, get() + row.request + HIDDEN):
        assert await heard(site, data) == await heard_by_hypercorn(site, data)


@pytest.mark.parametrize("row", CORPUS[len(ROWS) :], ids=lambda row: row.name)
async def test_a_row_of_the_corpus_gets_its_answer(site: Site, row: Row) -> None:
    answer, is_kept = await site.ask(row.request)
    assert (answer.status, is_kept) == (row.status, row.is_kept)


SHORT = [row.request for row in CORPUS if len(row.request) < 1_000]


@given(
    parts=st.lists(st.sampled_from([*SHORT, *[get(), post(NOTE)] * 20]), min_size=1, max_size=4),
    cuts=st.tuples(st.integers(0, 2_000), st.integers(0, 2_000)),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_both_paths_judge_any_pipeline_alike(
    site: Site, parts: list[bytes], cuts: tuple[int, int]
) -> None:
    data = b"".join(parts)
    assert await heard(site, data, cuts) == await heard_by_hypercorn(site, data)


def serves(site: Site) -> type:
    (connection,) = site.server._connections
    return type(connection)


async def test_ordinary_requests_are_served_without_hypercorn(site: Site) -> None:
    async with site.connect() as connection:
        for request in (get(), post(NOTE), get(line=b"HEAD /api/v1/echo HTTP/1.1")):
            await connection.send(request)
            await connection.answer(to_head=request.startswith(b"HEAD"))
            assert serves(site) is LeanConnection


@pytest.mark.parametrize(
    "request_bytes",
    [
        chunked(CHUNKS),
        post(NOTE, b"Expect: 100-continue"),
        get(b"Upgrade: h2c"),
        get(line=b"OPTIONS /api/v1/echo HTTP/1.1"),
        get(line=b"GET http://b/api/v1/echo HTTP/1.1"),
        post(b" " * 70_000),
    ],
    ids=["chunks", "expect", "upgrade", "method", "whole URL", "large body"],
)
async def test_an_unusual_request_goes_to_hypercorn_with_all_that_follows(
    site: Site, request_bytes: bytes
) -> None:
    async with site.connect() as connection:
        await connection.send(get() + request_bytes + get())
        answers = [await connection.answer() for _ in range(3)]
        assert [answers[0].status, answers[2].status] == [200, 200]
        assert serves(site) is StrictServer
        assert await connection.is_kept()


async def test_who_pauses_within_a_request_goes_to_hypercorn_and_is_answered_once(
    site: Site,
) -> None:
    async with site.connect() as connection:
        await connection.send(post(NOTE)[:-3])
        await asyncio.sleep(4 * lean.GRACE_SECONDS)
        assert serves(site) is StrictServer
        await connection.send(post(NOTE)[-3:])
        assert (await connection.answer()).json()["calls"] == 1
        assert await connection.is_kept()


async def test_who_asks_much_and_reads_nothing_is_not_served_on(site: Site) -> None:
    async with site.connect() as connection:
        await connection.send(LARGE * 40 + PROBE)
        await asyncio.sleep(0.3)
        assert len(site.calls.made) < 40
        for _ in range(40):
            assert len((await connection.answer()).body) > 1_000_000
        assert (await connection.answer()).status == 200


async def test_more_requests_than_fit_in_wait_with_the_client(site: Site) -> None:
    async with site.connect() as connection:
        await connection.send(get(line=b"GET /api/v1/slow HTTP/1.1"))
        sending = asyncio.create_task(connection.send(LONG * 1_500))
        await asyncio.sleep(0.2)
        assert site.calls.made == []
        site.calls.may_end.set()
        for _ in range(1_501):
            assert (await connection.answer()).status == 200
        await sending
    assert len(site.calls.made) == 1_501
