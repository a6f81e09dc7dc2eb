"""Sending a body while it is made: in bounded time, and only for as long as somebody reads it.

An error before the first bytes is answered as any other. After that the answer is
broken off: its end is missing, so that nobody takes a part for the whole.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import structlog

from novapulse.core import http
from novapulse.core.errors import Error, Unavailable
from novapulse.core.problem import Headers
from novapulse.core.routing import Stream
from novapulse.core.tasks import end_all

log = structlog.get_logger("http")
# A client that takes nothing for so long is not reading any more.
STALL_SECONDS = 30.0
CLIENT_GONE, BROKEN_OFF = "client_gone", "broken_off"


class Sender:
    """One request's way out."""

    def __init__(self, state: http.RequestState, receive: http.Receive, send: http.Send) -> None:
        self._state = state
        self._receive = receive
        self._send = send

    async def stream(
        self, stream: Stream, *, headers: Headers, is_head: bool, seconds: float
    ) -> None:
        """Send all of it within `seconds`, or break off."""
        headers = [*stream.headers, *headers]
        if stream.size is not None:
            headers.append((b"content-length", str(stream.size).encode()))
        start = {"type": "http.response.start", "status": stream.status, "headers": headers}
        async with aclosing(stream.chunks) as chunks:
            if is_head:
                await self._send(start)
                await self._send({"type": "http.response.body", "body": b""})
                return
            first = await _first(chunks, seconds)
            await self._send(start)
            await self._race(chunks, first, seconds=seconds)

    async def _race(
        self, chunks: AsyncGenerator[bytes, None], first: bytes, *, seconds: float
    ) -> None:
        sending = asyncio.create_task(self._send_all(chunks, first))
        leaving = asyncio.create_task(self._until_gone())
        try:
            await asyncio.wait(
                (sending, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if not sending.done():
                reason = CLIENT_GONE if leaving.done() else BROKEN_OFF
                self._note(reason, f"not sent within {seconds:g} s")
            elif (error := sending.exception()) is not None:
                self._note(BROKEN_OFF, error)
        finally:
            await end_all((sending, leaving))

    async def _send_all(self, chunks: AsyncGenerator[bytes, None], first: bytes) -> None:
        await self._send_on(first)
        async for chunk in chunks:
            await self._send_on(chunk)
        await self._send({"type": "http.response.body", "body": b""})

    async def _send_on(self, chunk: bytes) -> None:
        if not chunk:
            return
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError as error:
            raise Unavailable("The client reads nothing") from error

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _note(self, code: str, reason: object) -> None:
        """For the log and the metrics: the status that was sent tells of no failure."""
        self._state.code = code
        self._state.status = 499 if code == CLIENT_GONE else 500
        if code == CLIENT_GONE:
            return
        if isinstance(reason, Exception) and not isinstance(reason, Error):
            log.error("http.broken_off", route=self._state.route, exc_info=reason)
        else:
            log.warning("http.broken_off", route=self._state.route, reason=str(reason))


async def _first(chunks: AsyncGenerator[bytes, None], seconds: float) -> bytes:
    """The first bytes there are; none of an empty body."""
    try:
        async with asyncio.timeout(seconds):
            async for chunk in chunks:
                if chunk:
                    return chunk
    except TimeoutError as error:
        raise Unavailable("The answer could not be begun in time") from error
    return b""
