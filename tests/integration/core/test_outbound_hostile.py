"""What receivers may do to the outbound client: it ends in time, small, with the right word."""

import asyncio
import contextlib
import gzip
import struct
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from novapulse.core.connector import NameResolver
from novapulse.core.exchange import OutboundAnswer, OutboundFailure, OutboundRequest
from novapulse.core.networks import AddressPolicy
from novapulse.core.outbound import OutboundClient, OutboundOptions
from tests.support import loops
from tests.support.receivers import OK, Script, StubResolver, receiving, self_signed

anyio_backend = loops.each_backend

TIMEOUT_SECONDS = 0.6
# An ordinary exchange, its parser and its buffers included, stays far below.
MEMORY_BYTES = 16 * 1024 * 1024


@contextlib.asynccontextmanager
async def outbound(**options: object) -> AsyncIterator[OutboundClient]:
    resolver = options.pop("resolver", None)
    policy = AddressPolicy((ip_network("127.0.0.0/8"),))
    client = OutboundClient(
        policy,
        OutboundOptions(**options),
        resolver=resolver,
    )
    try:
        yield client
    finally:
        await client.aclose()


def request(url: str, *, method: str = "POST", body: bytes = b"{}") -> OutboundRequest:
    return OutboundRequest(method, url, {}, body, TIMEOUT_SECONDS)


async def meet(answer: bytes | Script, *, method: str = "POST") -> OutboundAnswer | OutboundFailure:
    """One exchange with such a receiver: in time, in bounded memory."""
    async with receiving(answer) as hostile, outbound() as client:
        tracemalloc.start()
        began = time.monotonic()
        try:
            return await client.send(request(hostile.url(), method=method))
        except OutboundFailure as failure:
            return failure
        finally:
            took, peak = time.monotonic() - began, tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert took <= TIMEOUT_SECONDS + 1
            assert peak <= MEMORY_BYTES


async def failing(answer: bytes | Script) -> OutboundFailure:
    met = await meet(answer)
    assert isinstance(met, OutboundFailure), met
    assert met.timings.total_ms <= (TIMEOUT_SECONDS + 1) * 1_000
    return met


async def answered(answer: bytes | Script, *, method: str = "POST") -> OutboundAnswer:
    met = await meet(answer, method=method)
    assert isinstance(met, OutboundAnswer), (met.kind, met.detail)
    return met


def flooding(head: bytes, piece: bytes) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()

    return script


def dripping(text: bytes, *, seconds: float = 0.02) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in text:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(seconds)

    return script


async def hang(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: close sends RST
    writer.transport.abort()


def closing_after(text: bytes) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return script


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.0 500 Oops\r\n\r\n",
    ],
)
async def test_of_an_endless_body_only_the_first_16_kib_are_kept(head: bytes) -> None:
    answer = await answered(flooding(head, b"x" * 65_536))
    assert answer.status == int(head[9:12])
    assert (answer.body, answer.truncated) == (b"x" * 16_384, True)


async def test_of_an_endless_chunked_body_only_the_first_16_kib_are_kept() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for piece in (b"1\r\nx\r\n" * 1_000, b"10000\r\n" + b"x" * 65_536 + b"\r\n"):
        answer = await answered(flooding(head, piece))
        assert (answer.body, answer.truncated) == (b"x" * 16_384, True)


@pytest.mark.parametrize(
    ("length", "is_truncated"), [(0, False), (1, False), (16_384, False), (16_385, True)]
)
async def test_a_body_is_truncated_only_when_something_is_left_out(
    length: int, is_truncated: bool
) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()
    answer = await answered(head + b"x" * length)
    assert (len(answer.body), answer.truncated) == (min(length, 16_384), is_truncated)


async def test_a_compressed_body_is_kept_as_it_is() -> None:
    bomb = gzip.compress(bytes(10_000_000))[:12_000]
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    answer = await answered(head.encode() + bomb)
    assert answer.body == bomb
    assert answer.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1_048_576 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 1_048_576 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x" * 1_048_576 + b": 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 100_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(64),
        b"\x00" * 100_000,
    ],
)
async def test_what_is_not_http_or_too_much_of_it_is_a_protocol_failure(head: bytes) -> None:
    assert (await failing(closing_after(head))).kind == "protocol"


async def test_a_bad_chunk_is_not_taken_for_an_answer() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"
    assert (await failing(closing_after(head))).kind in ("protocol", "reset")


async def test_endless_headers_are_cut_off() -> None:
    endless = flooding(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n" * 1_000)
    assert (await failing(endless)).kind == "protocol"


async def test_a_flood_of_interim_answers_is_cut_off() -> None:
    endless = flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
    failure = await failing(endless)
    assert failure.kind == "protocol"  # not by the deadline, which would be a timeout
    assert failure.timings.total_ms < (TIMEOUT_SECONDS + 1) * 1_000


async def test_a_few_interim_answers_come_before_the_answer() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert (await answered(b"HTTP/1.1 100 Continue\r\n\r\n" + hints + OK)).body == b"ok"


async def test_no_answer_ends_with_the_deadline() -> None:
    failure = await failing(hang)
    assert (failure.kind, failure.peer_ip) == ("timeout", "127.0.0.1")
    assert "No answer" in failure.detail
    assert failure.timings.first_byte_ms >= TIMEOUT_SECONDS * 900


async def test_a_slow_drip_of_headers_ends_with_the_deadline() -> None:
    assert (await failing(dripping(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 500))).kind == "timeout"


async def test_a_slow_drip_of_a_body_ends_with_the_deadline() -> None:
    failure = await failing(dripping(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 500, seconds=0.01))
    assert failure.kind == "timeout"
    assert "200" in failure.detail


async def test_a_receiver_that_reads_nothing_ends_with_the_deadline() -> None:
    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()
        await asyncio.sleep(60)

    async with receiving(deaf, waits_for_request=False) as hostile, outbound() as client:
        with pytest.raises(OutboundFailure) as failed:
            await client.send(request(hostile.url(), body=bytes(1_000_000)))
    assert failed.value.kind == "timeout"
    assert failed.value.timings.total_ms <= (TIMEOUT_SECONDS + 1) * 1_000


@pytest.mark.parametrize("answer", [reset, closing_after(b""), closing_after(b"HTTP/1.1 200")])
async def test_a_connection_that_breaks_before_the_answer_is_a_reset(answer: Script) -> None:
    assert (await failing(answer)).kind == "reset"


@pytest.mark.parametrize(
    "head", [b"Content-Length: 100\r\n\r\nab", b"Transfer-Encoding: chunked\r\n\r\n9\r\nab"]
)
async def test_a_connection_that_breaks_within_the_answer_is_a_reset(head: bytes) -> None:
    failure = await failing(closing_after(b"HTTP/1.1 200 OK\r\n" + head))
    assert failure.kind == "reset"
    assert "200" in failure.detail


@pytest.mark.parametrize("status", [200, 204, 304, 404, 410, 418, 429, 500, 599, 600, 999])
async def test_any_status_is_an_answer(status: int) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    assert (await answered(head)).status == status


async def test_an_offer_to_speak_another_protocol_is_an_answer_and_ends_there() -> None:
    head = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    answer = await answered(flooding(head, b"\x81\x02hi" * 1_000))
    assert (answer.status, answer.body) == (101, b"")


async def test_kept_headers_are_few_short_and_can_be_stored() -> None:
    head = (
        b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nServer: caf\xe9\xff\x01\r\nX-Secret: 1\r\n"
        b"Content-Type: " + b"x" * 4_000 + b"\r\nWEBHOOK-DELIVERY: disable\r\n"
        b"Date: a\r\nDate: b\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    )
    headers = (await answered(head)).headers
    assert headers["retry-after"] == "120"
    assert headers["webhook-delivery"] == "disable"
    assert headers["server"].startswith("café")
    assert headers["content-type"] == "x" * 1_024
    assert headers["date"] == "a, b"
    assert set(headers) == {
        *("retry-after", "webhook-delivery", "server", "content-type", "date", "content-length")
    }
    assert str(headers).encode("utf-8")


async def test_a_refused_connection_is_told_apart() -> None:
    async with receiving() as gone:
        pass
    async with outbound() as client:
        with pytest.raises(OutboundFailure) as failed:
            await client.send(request(gone.url()))
    assert (failed.value.kind, failed.value.peer_ip) == ("connect", "127.0.0.1")


async def test_an_untrusted_certificate_is_a_tls_failure(tmp_path: Path) -> None:
    tls, _ = self_signed(tmp_path, name="hooks.example.com")
    async with receiving(tls=tls) as untrusted, outbound() as client:
        with pytest.raises(OutboundFailure) as failed:
            await client.send(request(untrusted.url(scheme="https")))
    assert failed.value.kind == "tls"
    assert "self-signed" in failed.value.detail
    assert untrusted.requests == []


@pytest.mark.parametrize("greeting", [b"220 smtp ready\r\n", b"", b"\x15\x03\x03\x00\x02\x02\x28"])
async def test_a_server_that_speaks_no_tls_is_a_tls_failure(greeting: bytes) -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)

    async with receiving(plain, waits_for_request=False) as hostile, outbound() as client:
        with pytest.raises(OutboundFailure) as failed:
            await client.send(request(hostile.url(scheme="https")))
    assert failed.value.kind == "tls"


async def test_a_handshake_that_hangs_ends_with_the_time_for_connecting() -> None:
    async with (
        receiving(hang, waits_for_request=False) as hostile,
        outbound(connect_timeout_seconds=0.1) as client,
    ):
        with pytest.raises(OutboundFailure) as failed:
            await client.send(request(hostile.url(scheme="https")))
    assert failed.value.kind == "timeout"
    assert failed.value.timings.total_ms < TIMEOUT_SECONDS * 1_000
    assert failed.value.timings.first_byte_ms == 0


async def test_a_name_server_that_hangs_costs_the_time_for_names_and_one_thread() -> None:
    let_go = threading.Event()

    def lookup(*_: object, **__: object) -> list[tuple[object, ...]]:
        let_go.wait(10)
        return []

    before = threading.active_count()
    try:
        async with outbound(resolver=NameResolver(0.05, lookup=lookup)) as client:
            for _ in range(3):
                with pytest.raises(OutboundFailure) as failed:
                    await client.send(request("http://slow.example.com/"))
                assert failed.value.kind == "dns"
                assert failed.value.timings.dns_ms >= 40
        assert threading.active_count() <= before + 1
    finally:
        let_go.set()


async def test_an_idle_receiver_that_talks_unasked_is_hung_up_on() -> None:
    """Unrequested answers are neither queued up nor given to the next request."""
    hung_up = asyncio.Event()

    async def chatty(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.05)
        try:
            while True:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged" * 1_000)
                await writer.drain()
        except ConnectionError:
            hung_up.set()

    async with receiving(chatty) as hostile, outbound() as client:
        tracemalloc.start()
        first = await client.send(request(hostile.url()))
        await asyncio.wait_for(hung_up.wait(), 5)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        second = await client.send(request(hostile.url()))
    assert (first.body, second.body) == (b"ok", b"ok")
    assert hostile.connections == 2
    assert peak < MEMORY_BYTES


async def test_two_answers_to_one_request_do_not_mix_up_the_next() -> None:
    twice = OK + OK.replace(b"ok", b"no")
    async with receiving(twice) as hostile, outbound() as client:
        answers = [await client.send(request(hostile.url())) for _ in range(3)]
    assert [answer.body for answer in answers] == [b"ok"] * 3


async def test_a_failure_tells_nothing_of_the_url() -> None:
    async with receiving() as gone:
        pass
    secret = "/services/T000/B000/verysecrettoken?key=verysecretkey"
    hosts = ["127.0.0.1", "10.0.0.1", "user:verysecretpassword@127.0.0.1", "[::1"]
    async with outbound(resolver=StubResolver(["127.0.0.1"])) as client:
        for scheme in ("http", "https"):
            for host in [*hosts, "hooks.example.com"]:
                with pytest.raises(OutboundFailure) as failed:
                    await client.send(request(gone.url(host, secret, scheme)))
                assert "verysecret" not in failed.value.detail
                assert failed.value.__suppress_context__


async def test_a_hundred_hanging_receivers_do_not_hold_up_a_healthy_one() -> None:
    async with receiving(hang) as hanging, receiving() as healthy, outbound() as client:
        waiting = [
            asyncio.create_task(client.send(request(hanging.url(path=f"/{n}")))) for n in range(100)
        ]
        await asyncio.sleep(0.2)
        answer = await client.send(request(healthy.url()))
        failures = await asyncio.gather(*waiting, return_exceptions=True)
    assert answer.status == 200
    assert answer.timings.total_ms < TIMEOUT_SECONDS * 1_000
    assert {f.kind for f in failures if isinstance(f, OutboundFailure)} == {"timeout"}


async def test_a_cancelled_request_leaves_nothing_behind() -> None:
    async with receiving(hang) as hanging, outbound() as client:
        sending = asyncio.create_task(client.send(request(hanging.url())))
        await asyncio.sleep(0.1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert hanging.connections == 1
