"""A shared connection: every answer finds the one who asked, or nobody gets one."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import bson
import pytest

from novapulse.core.mongolink import Messages
from novapulse.core.pipeline import Pipeline
from novapulse.core.redis import RedisError, Replies

HEAD = struct.Struct("<iiiiIB")


class Lines:
    """Answers that end in a newline; `?` is nonsense."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        if b"?" in data:
            raise ValueError(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        return whole


@dataclass
class Both:
    pipeline: Pipeline[bytes]
    peer: socket.socket

    async def heard(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.peer, 65536)


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    _, writer = await asyncio.open_connection(sock=ours)
    pipeline = Pipeline(writer.transport, Lines().feed, timeout_seconds=0.2)  # type: ignore[arg-type]  # a socket's
    try:
        yield Both(pipeline, peer)
    finally:
        pipeline.abort()
        await pipeline.lost
        await asyncio.wait_for(writer.wait_closed(), 5)
        peer.close()


async def test_what_is_asked_in_one_turn_is_one_write_and_answers_come_in_order(
    both: Both,
) -> None:
    asked = [both.pipeline.ask(b"%d\n" % number) for number in range(3)]
    assert await both.heard() == b"0\n1\n2\n"
    both.peer.send(b"a\nb")
    both.peer.send(b"b\nc\n")
    assert await asyncio.gather(*asked) == [b"a", b"bb", b"c"]
    assert both.pipeline.waiting == 0


async def test_an_answer_that_nobody_waits_for_any_more_is_not_given_to_the_next(
    both: Both,
) -> None:
    given_up, patient = both.pipeline.ask(b"1\n"), both.pipeline.ask(b"2\n")
    given_up.cancel()
    both.peer.send(b"first\nsecond\n")
    assert await patient == b"second"


async def test_a_late_answer_ends_the_connection_for_all_who_wait(both: Both) -> None:
    early = both.pipeline.ask(b"1\n")
    await asyncio.sleep(0.1)
    later = both.pipeline.ask(b"2\n")
    assert both.pipeline.is_stuck
    for one in (early, later):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one, 5)
    assert not both.pipeline.is_open
    with pytest.raises(TimeoutError):
        await both.pipeline.ask(b"3\n")


async def test_a_busy_loop_does_not_take_its_own_delay_for_the_servers(both: Both) -> None:
    asked = [both.pipeline.ask(b"1\n")]
    await both.heard()
    for number in range(5):
        both.peer.send(b"%d\n" % number)
        time.sleep(0.06)  # noqa: ASYNC251 - as long as many requests at once take
        assert not both.pipeline.is_stuck
        asked.append(both.pipeline.ask(b"2\n"))
        await asyncio.sleep(0)
    both.peer.send(b"5\n")
    assert await asyncio.gather(*asked) == [b"%d" % number for number in range(6)]
    assert not both.pipeline.is_stuck


@pytest.mark.parametrize("words", [b"", b"?\n", b"asked\nunasked\n"])
async def test_a_peer_that_hangs_up_or_talks_nonsense_is_done_with(
    both: Both, words: bytes
) -> None:
    asked = both.pipeline.ask(b"1\n")
    await both.heard()
    if words:
        both.peer.send(words)
    else:
        both.peer.close()
    if words.startswith(b"asked"):
        assert await asked == b"asked"
    else:
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(asked, 5)
    await asyncio.wait_for(both.pipeline.lost, 5)
    assert not both.pipeline.is_open


def message(number: int, document: dict[str, object], *, flags: int = 0) -> bytes:
    body = bson.encode(document)
    return HEAD.pack(HEAD.size + len(body), 1, number, 2013, flags, 0) + body


def test_messages_are_cut_wherever_the_stream_breaks() -> None:
    stream = message(7, {"ok": 1}) + message(8, {"ok": 0, "code": 50})
    whole = Messages().feed(stream)
    assert [(number, bson.decode(body)["ok"]) for number, body in whole] == [(7, 1), (8, 0)]
    for size in (1, 20, 21, 30):
        messages = Messages()
        parts = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [found for part in parts for found in messages.feed(part)] == whole


@pytest.mark.parametrize(
    "stream",
    [
        message(1, {"ok": 1}, flags=2),
        HEAD.pack(40, 1, 1, 2012, 0, 0),
        HEAD.pack(20, 1, 1, 2013, 0, 0),
        HEAD.pack(2_000_000_000, 1, 1, 2013, 0, 0),
    ],
)
def test_a_message_of_another_kind_or_size_is_refused(stream: bytes) -> None:
    with pytest.raises(ValueError, match="plain command"):
        Messages().feed(stream)


def test_replies_carry_errors_as_values_and_leave_news_out() -> None:
    replies = Replies()
    assert replies.feed(b"*2\r\n:1\r\n") == []
    found = replies.feed(b":2\r\n>2\r\n$4\r\nnews\r\n:1\r\n-NOSCRIPT No such\r\n")
    assert found[0] == [1, 2]
    assert isinstance(found[1], RedisError)
    assert len(found) == 2
    with pytest.raises(ValueError, match="Protocol error"):
        replies.feed(b"!!nonsense\r\n")
