"""An answer's bytes, and what must never leave as an answer."""

import asyncio
from typing import Any

import pytest

from novapulse.processes.answering import Answering


class Pipe:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.transport: Any = self
        self.can_write = asyncio.Event()
        self.can_write.set()
        self.is_lost = False
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


def answering(pipe: Pipe, *, is_head: bool = False) -> Answering:
    return Answering(pipe, b"body", is_head=is_head, is_last=False)


async def start(answer: Answering, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    await answer.send({"type": "http.response.start", "status": status, "headers": headers})


async def part(answer: Answering, body: bytes, *, is_end: bool = True) -> None:
    await answer.send({"type": "http.response.body", "body": body, "more_body": not is_end})


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0b"])
async def test_a_value_with_a_line_break_is_never_written(value: bytes) -> None:
    pipe = Pipe()
    answer = answering(pipe)
    await start(answer, (b"x", value))
    with pytest.raises(ValueError, match="line break"):
        await part(answer, b"")
    assert pipe.written == b""


@pytest.mark.parametrize("body", [b"ab", b"abcd"])
async def test_a_body_of_another_length_than_told_is_not_complete(body: bytes) -> None:
    answer = answering(Pipe())
    await start(answer, (b"content-length", b"3"))
    with pytest.raises(RuntimeError):
        await part(answer, body)
    assert not answer.is_complete


async def test_a_body_without_a_length_is_told_it_when_it_is_whole_and_chunked_when_not() -> None:
    whole, parts = Pipe(), Pipe()
    answer = answering(whole)
    await start(answer)
    await part(answer, b"abc")
    assert whole.written.endswith(b"\r\ncontent-length: 3\r\n\r\nabc")
    answer = answering(parts)
    await start(answer)
    await part(answer, b"abc", is_end=False)
    await part(answer, b"", is_end=True)
    assert parts.written.endswith(b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert answer.is_complete


@pytest.mark.parametrize(("status", "is_head"), [(204, False), (304, False), (200, True)])
async def test_where_no_body_belongs_none_is_written(status: int, is_head: bool) -> None:
    pipe = Pipe()
    answer = answering(pipe, is_head=is_head)
    await start(answer, status=status)
    await part(answer, b"abc")
    assert pipe.written.endswith(b"\r\n\r\n")
    assert answer.is_complete


async def test_the_body_comes_once_and_then_the_end() -> None:
    answer = answering(Pipe())
    assert (await answer.receive())["body"] == b"body"
    waiting = asyncio.ensure_future(answer.receive())
    await asyncio.sleep(0)
    assert not waiting.done()
    answer.leave()
    assert await waiting == {"type": "http.disconnect"}


async def test_messages_out_of_turn_are_errors() -> None:
    answer = answering(Pipe())
    with pytest.raises(RuntimeError):
        await part(answer, b"")
    await start(answer)
    with pytest.raises(RuntimeError):
        await start(answer)
    await part(answer, b"")
    with pytest.raises(RuntimeError):
        await part(answer, b"")
