"""How a connection lives and ends: segments, pipelines, slow clients, answers that come early."""

import asyncio
import socket
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.http.conftest import PROBE, SECONDS, Connection, Site, serving
from tests.integration.http.test_requests import (
    CHUNKS,
    NOT_HTTP,
    NOTE,
    SMUGGLING,
    Row,
    chunked,
    get,
    post,
)

LARGE_BODY = b" " * 3_000_000


def head_of(size: int, *fields: bytes) -> bytes:
    """A request whose body is still to come."""
    kind, length = b"Content-Type: application/json", b"Content-Length: %d" % size
    return get(kind, length, *fields, line=b"POST /api/v1/notes HTTP/1.1")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [(get(), 200), (post(NOTE), 201), (chunked(CHUNKS), 201)],
    ids=["plain", "body", "chunks"],
)
async def test_a_request_may_come_byte_by_byte(
    site: Site, request_bytes: bytes, status: int
) -> None:
    async with site.connect() as connection:
        await connection.send_slowly(request_bytes)
        assert (await connection.answer()).status == status
        assert await connection.is_kept()


SHORT = [row for row in (*NOT_HTTP, *SMUGGLING) if len(row.request) < 400]


@pytest.mark.parametrize("row", SHORT, ids=lambda row: row.name)
async def test_a_bad_request_is_refused_byte_by_byte_too(site: Site, row: Row) -> None:
    async with site.connect() as connection:
        try:
            await connection.send_slowly(row.request)
        except ConnectionError:
            pass  # it was refused before its end
        assert (await connection.answer()).status == row.status
        assert await connection.rest() == b""
    assert site.calls.made == []


@pytest.mark.parametrize("size", [16_300, 16_500])
async def test_the_limit_of_a_header_does_not_depend_on_its_segments(site: Site, size: int) -> None:
    filled = get(b"X: " + b"x" * (size - len(get(b"X: "))))
    expected = 200 if size < 16_384 else 431
    for step in (size, 8_000, 1_000):
        async with site.connect() as connection:
            for at in range(0, size, step):
                await connection.send(filled[at : at + step])
                await asyncio.sleep(0)
            assert (await connection.answer()).status == expected


@given(cuts=st.lists(st.integers(0, 5_000), max_size=8))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_pipelined_requests_are_answered_in_order_however_they_are_cut(
    site: Site, cuts: list[int]
) -> None:
    site.calls.made.clear()
    requests = [post(NOTE), chunked(CHUNKS), get(), post(b"{}"), chunked(CHUNKS), get()]
    stream = b"".join(requests)
    edges = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    async with site.connect() as connection:
        for start, end in pairwise(edges):
            await connection.send(stream[start:end])
            await asyncio.sleep(0)
        answers = [await connection.answer() for _ in requests]
        assert [answer.status for answer in answers] == [201, 201, 200, 422, 201, 200]
        order = [answer.json()["calls"] for answer in answers if answer.status < 400]
        assert order == [1, 2, 3, 4, 5]
        assert await connection.is_kept()


async def test_a_slow_request_holds_up_those_behind_it(site: Site) -> None:
    async with site.connect() as connection:
        await connection.send(get(line=b"GET /api/v1/slow HTTP/1.1") + post(NOTE))
        await asyncio.sleep(0.05)
        assert site.calls.made == []
        site.calls.may_end.set()
        assert (await connection.answer()).json()["text"] == "slow"
        assert (await connection.answer()).status == 201


async def test_what_comes_before_a_bad_request_is_answered_and_nothing_after_it(
    site: Site,
) -> None:
    async with site.connect() as connection:
        await connection.send(get() + get(b"X : y") + get())
        assert [(await connection.answer()).status for _ in range(2)] == [200, 400]
        assert await connection.rest() == b""
    assert len(site.calls.made) == 1


@pytest.mark.parametrize(
    "last",
    [get(b"Connection: close"), get(line=b"GET /api/v1/echo HTTP/1.0")],
    ids=["close", "1.0"],
)
@pytest.mark.parametrize("more", [b"\r\n", PROBE, b"\0"], ids=["newline", "request", "garbage"])
async def test_what_follows_a_last_request_is_dropped(site: Site, last: bytes, more: bytes) -> None:
    async with site.connect() as connection:
        await connection.send(last + more)
        assert (await connection.answer()).status == 200
        assert await connection.rest() == b""
    assert len(site.calls.made) == 1


async def test_a_client_that_ends_its_half_gets_its_answers(site: Site) -> None:
    async with site.connect() as connection:
        await connection.send(get() + post(NOTE))
        connection.end()
        assert [(await connection.answer()).status for _ in range(2)] == [200, 201]
        assert await connection.rest() == b""


@pytest.mark.parametrize("part", [get()[:-2], post(NOTE)[:-2], chunked(CHUNKS)[:-2]])
async def test_half_a_request_is_refused_and_not_run(site: Site, part: bytes) -> None:
    async with site.connect() as connection:
        await connection.send(part)
        connection.end()
        assert (await connection.answer()).code == "malformed"
    assert site.calls.made == []


async def test_half_a_request_is_not_run_for_a_route_without_a_body(site: Site) -> None:
    async with site.connect() as connection:
        await connection.send(
            get(b"Content-Length: 5", line=b"POST /api/v1/ring HTTP/1.1") + b"abc"
        )
        await asyncio.sleep(0.05)
        assert site.calls.made == []
        await connection.send(b"de")
        assert (await connection.answer()).status == 200


async def test_an_answer_in_large_parts_arrives_whole(site: Site) -> None:
    async with site.connect() as connection:
        await connection.send(get(line=b"GET /api/v1/large HTTP/1.1"))
        assert len((await connection.answer()).json()["text"]) == 1_000_000
        assert await connection.is_kept()


# Too large, and told or found out.


async def test_a_body_that_is_too_large_is_answered_before_it_is_sent(site: Site) -> None:
    async with site.connect() as connection:
        await connection.send(head_of(len(LARGE_BODY)))
        answer = await connection.answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_client_that_sends_too_much_in_one_go_sees_the_answer(
    site: Site, is_chunked: bool
) -> None:
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(LARGE_BODY), LARGE_BODY)
    request = chunked(body) if is_chunked else head_of(len(LARGE_BODY)) + LARGE_BODY
    async with site.connect() as connection:
        await connection.send(request)  # all of it, before anything is read
        assert (await connection.answer()).code == "too_large"
        assert await connection.rest() == b""


async def test_what_is_sent_after_an_early_answer_is_not_dropped_for_ever() -> None:
    async with (
        serving(drop_bytes=1_000_000, drop_seconds=SECONDS) as site,
        site.connect() as connection,
    ):
        await connection.send(head_of(10**9))
        assert (await connection.answer()).status == 413
        with pytest.raises(ConnectionError):
            await connection.send(b" " * 100_000_000)


async def test_a_client_that_never_closes_is_closed_after_an_early_answer() -> None:
    async with serving(drop_seconds=0.2) as site, site.connect() as connection:
        await connection.send(head_of(10**9))
        assert (await connection.answer()).status == 413
        with pytest.raises(ConnectionError):
            await connection.send_slowly(b" " * 1_000, pause_seconds=0.05)


async def test_a_client_that_asks_first_is_told_to_go_on(site: Site) -> None:
    async with site.connect() as connection:
        await connection.send(head_of(len(NOTE), b"Expect: 100-continue"))
        answering = asyncio.create_task(connection.answer())
        async with asyncio.timeout(SECONDS):
            await connection.was_told.wait()
        await connection.send(NOTE)
        assert (await answering).status == 201
        assert await connection.is_kept()


async def test_a_client_that_asks_first_is_not_told_to_send_too_much(site: Site) -> None:
    async with site.connect() as connection:
        await connection.send(head_of(len(LARGE_BODY), b"Expect: 100-continue"))
        answer = await connection.answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert not connection.was_told.is_set()
        assert await connection.rest() == b""


async def test_a_client_that_asks_first_may_be_refused_without_its_body(site: Site) -> None:
    async with site.connect() as connection:
        line = b"POST /api/v1/notes HTTP/1.1"
        fields = (b"Expect: 100-continue", b"Content-Length: 9", b"Content-Type: text/plain")
        await connection.send(get(*fields, line=line))
        answer = await connection.answer()
        assert (answer.status, answer.headers["connection"]) == (415, "close")
        assert await connection.rest() == b""


# Slow clients, with times of a test.


@pytest.mark.parametrize("request_bytes", [get(b"X: " + b"x" * 2_000), b"G" * 2_000])
async def test_a_header_that_drips_is_cut(request_bytes: bytes) -> None:
    async with serving(header_seconds=0.3) as site, site.connect() as connection:
        dripping = asyncio.create_task(connection.send_slowly(request_bytes, pause_seconds=0.02))
        answer = await connection.answer()
        assert (answer.status, answer.code) == (408, "too_slow")
        assert answer.headers["connection"] == "close"
        await connection.rest()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
    assert site.calls.made == []


@pytest.mark.parametrize(
    "request_bytes",
    [head_of(2_000) + b" " * 1_999, chunked(b"1\r\n \r\n" * 500)],
    ids=["length", "chunks"],
)
async def test_a_body_that_drips_is_cut(request_bytes: bytes) -> None:
    async with (
        serving(header_seconds=SECONDS, body_seconds=0.3) as site,
        site.connect() as connection,
    ):
        head, _, body = request_bytes.partition(b"\r\n\r\n")
        await connection.send(head + b"\r\n\r\n")
        dripping = asyncio.create_task(connection.send_slowly(body, pause_seconds=0.02))
        answer = await connection.answer()
        assert (answer.status, answer.code) == (408, "too_slow")
        await connection.rest()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
    assert site.calls.made == []


async def test_a_client_that_says_nothing_is_closed_without_an_answer() -> None:
    async with serving(header_seconds=0.2) as site, site.connect() as connection:
        assert await connection.rest() == b""


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with (
        serving(idle_seconds=0.2, header_seconds=SECONDS) as site,
        site.connect() as connection,
    ):
        await connection.send(PROBE)
        assert (await connection.answer()).status == 200
        assert await connection.rest() == b""


async def test_the_time_of_a_header_begins_with_its_first_byte() -> None:
    async with (
        serving(idle_seconds=SECONDS, header_seconds=0.3) as site,
        site.connect() as connection,
    ):
        for _ in range(2):
            await connection.send(PROBE)
            assert (await connection.answer()).status == 200
            await asyncio.sleep(0.5)
        await connection.send(PROBE[:-2])
        assert (await connection.answer()).status == 408


async def test_a_slow_handler_is_not_the_clients_fault() -> None:
    async with (
        serving(header_seconds=0.1, body_seconds=0.1, idle_seconds=0.1) as site,
        site.connect() as connection,
    ):
        await connection.send(get(line=b"GET /api/v1/slow HTTP/1.1"))
        await asyncio.sleep(0.4)
        site.calls.may_end.set()
        assert (await connection.answer()).status == 200


async def test_a_slow_handler_between_other_requests_is_not_the_clients_fault() -> None:
    async with serving(idle_seconds=0.1, body_seconds=0.1) as site, site.connect() as connection:
        await connection.send(chunked(CHUNKS) + get(line=b"GET /api/v1/slow HTTP/1.1") + PROBE)
        assert (await connection.answer()).status == 201
        await asyncio.sleep(0.4)
        site.calls.may_end.set()
        for _ in range(2):
            assert (await connection.answer()).status == 200


# Stopping.


async def test_draining_answers_what_is_in_flight_and_closes_what_is_idle() -> None:
    async with (
        serving() as site,
        site.connect() as busy,
        site.connect() as idle,
        site.connect() as silent,
    ):
        await idle.send(PROBE)
        await idle.answer()
        await busy.send(get(line=b"GET /api/v1/slow HTTP/1.1"))
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(site.server.drain(seconds=SECONDS))
        assert await idle.rest() == b""
        assert await silent.rest() == b""
        assert not draining.done()
        site.calls.may_end.set()
        answer = await busy.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await busy.rest() == b""
        await draining


async def test_draining_leaves_requests_behind_the_one_in_flight_unanswered() -> None:
    async with serving() as site, site.connect() as connection:
        await connection.send(get(line=b"GET /api/v1/slow HTTP/1.1") + PROBE)
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(site.server.drain(seconds=SECONDS))
        await asyncio.sleep(0.05)
        site.calls.may_end.set()
        assert (await connection.answer()).headers["connection"] == "close"
        assert await connection.rest() == b""
        await draining
    assert site.calls.made == ["slow"]


async def test_draining_answers_a_client_that_has_ended_its_half() -> None:
    async with serving() as site, site.connect() as connection:
        await connection.send(get(line=b"GET /api/v1/slow HTTP/1.1"))
        connection.end()
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(site.server.drain(seconds=SECONDS))
        await asyncio.sleep(1.2)  # idle connections are closed by now
        site.calls.may_end.set()
        assert (await connection.answer()).status == 200
        await draining


async def test_a_request_during_the_drain_is_answered_with_a_close() -> None:
    async with serving() as site, site.connect() as connection:
        await connection.send(PROBE)
        assert "connection" not in (await connection.answer()).headers
        draining = asyncio.create_task(site.server.drain(seconds=SECONDS))
        await asyncio.sleep(0.05)
        await connection.send(PROBE)
        assert (await connection.answer()).headers["connection"] == "close"
        assert await connection.rest() == b""
        await draining


async def test_a_request_that_came_just_before_its_idle_connection_is_closed_is_answered() -> None:
    """The loop has not read it yet, as on a busy machine."""
    async with serving() as site:
        client = socket.create_connection(site.address)
        connection = Connection(*await asyncio.open_connection(sock=client))
        await connection.send(PROBE)
        await connection.answer()
        client.send(PROBE)
        for one in site.server._connections:
            one.close_if_idle()
        assert (await connection.answer()).status == 200
        await connection.close()


async def test_who_connects_while_the_drain_begins_is_answered_or_left_to_the_others() -> None:
    """One client connects in every turn of the loop; the loop may have accepted it already.

    The listener's copy is what another process has, which takes who is still waiting.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    others = listener.dup()
    async with serving(listener) as site:
        clients = []
        draining: asyncio.Task[None] | None = None
        for turn in range(20):
            client = socket.socket()
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(site.address)
            clients.append(client)
            if turn == 5:
                draining = asyncio.create_task(site.server.drain(seconds=SECONDS))
            await asyncio.sleep(0)
        left = names_of_waiting(others)
        others.close()
        answered = [await is_answered(one) for one in clients if one.getsockname() not in left]
        for client in clients:
            client.close()
        assert draining is not None
        await draining
    assert all(answered), answered
    assert 5 < len(answered) < len(clients)


async def is_answered(client: socket.socket) -> bool:
    connection = Connection(*await asyncio.open_connection(sock=client))
    try:
        await connection.send(PROBE)
        return (await connection.answer()).headers["connection"] == "close"
    except (OSError, EOFError):
        return False
    finally:
        await connection.close()


def names_of_waiting(listener: socket.socket) -> set[tuple[str, int]]:
    """Whom the kernel has connected and nobody has accepted."""
    listener.setblocking(False)
    waiting: set[tuple[str, int]] = set()
    while True:
        try:
            connection, name = listener.accept()
        except BlockingIOError:
            return waiting
        connection.close()
        waiting.add(name)
