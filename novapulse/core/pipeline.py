"""One connection that many callers share: what they ask travels together, in their order.

A server that answers a connection's requests one after the other need not be waited for
between two of them. What is asked within one turn of the event loop is written at once:
a system call a turn, and not two a request. What the bytes mean is not known here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")


class Pipeline(asyncio.Protocol, Generic[Answer]):
    """Takes over a connected transport; `feed` turns what comes into whole answers.

    An answer that nobody waits for any more is dropped in its turn. One that is late ends
    the connection, so that no answer is ever taken for another's.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        feed: Callable[[bytes], Sequence[Answer]],
        *,
        timeout_seconds: float,
        patience_seconds: float = 0.025,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._feed = feed
        self._timeout_seconds = timeout_seconds
        self._waiting: deque[tuple[float, asyncio.Future[Answer]]] = deque()
        self._outbox: list[bytes] = []
        # Whether somebody waits, and nothing came for so long though we looked.
        self.is_stuck = False
        self._patience_seconds = patience_seconds
        self._patience: asyncio.TimerHandle | None = None
        self._has_moved = False
        self._watch: asyncio.TimerHandle | None = None
        self._reason: type[OSError] = ConnectionResetError
        self.lost: asyncio.Future[None] = self._loop.create_future()
        # Whoever opened the connection closes it, and wants to hear that it is closed.
        self._former: Any = transport.get_protocol()
        transport.set_protocol(self)
        transport.resume_reading()

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    @property
    def waiting(self) -> int:
        """How many answers are to come."""
        return len(self._waiting)

    def ask(self, request: bytes) -> "asyncio.Future[Answer]":
        """Send with all that is asked in this turn of the loop.

        The answer raises TimeoutError when none came in time, or ConnectionResetError.
        """
        answer: asyncio.Future[Answer] = self._loop.create_future()
        if self._transport.is_closing():
            answer.set_exception(self._reason())
            return answer
        now = self._loop.time()
        if not self._waiting:
            self._has_moved = True
        self._waiting.append((now, answer))
        self._outbox.append(request)
        if len(self._outbox) == 1:
            self._loop.call_soon(self._send)
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_seconds, self._look)
        if self._patience is None:
            self._patience = self._loop.call_later(self._patience_seconds, self._judge)
        return answer

    def abort(self, reason: type[OSError] = ConnectionResetError) -> None:
        """End the connection now; who still waits gets `reason`."""
        self._reason = reason
        self._transport.abort()
        self._fail_all()

    def data_received(self, data: bytes) -> None:
        try:
            answers = self._feed(data)
        except ValueError:
            self.abort()
            return
        for answer in answers:
            if not self._waiting:  # nobody asked: what it says can not be trusted
                self.abort()
                return
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(answer)
        if answers:
            self._has_moved, self.is_stuck = True, False

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail_all()
        for timer in (self._watch, self._patience):
            if timer is not None:
                timer.cancel()
        if not self.lost.done():
            self.lost.set_result(None)
        self._former.connection_lost(exc)

    def _send(self) -> None:
        requests, self._outbox = self._outbox, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(requests))

    def _look(self) -> None:
        """One timer for all: it looks at the oldest request and is set again for it."""
        self._watch = None
        if not self._waiting:
            return
        left = self._waiting[0][0] + self._timeout_seconds - self._loop.time()
        if left <= 0:
            self.abort(TimeoutError)
        else:
            self._watch = self._loop.call_later(left, self._look)

    def _judge(self) -> None:
        """By a timer, before which the loop reads: it finds no silence that is a busy loop's own.

        By the clock alone a turn that took long made the server look slow, and everybody took
        the dear way.
        """
        self._patience = None
        self.is_stuck = bool(self._waiting) and not self._has_moved
        self._has_moved = False
        if self._waiting:
            self._patience = self._loop.call_later(self._patience_seconds, self._judge)

    def _fail_all(self) -> None:
        while self._waiting:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(self._reason())
