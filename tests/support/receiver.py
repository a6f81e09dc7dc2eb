"""A webhook receiver for whole-program tests: a real HTTP server that keeps what it gets.

It runs in threads of its own, so that a test may do something else meanwhile.
What hostile receivers do to one connection is in `tests.support.receivers`.
"""

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class Received:
    """One request; header names in lower case, `at` in seconds of `time.monotonic`."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes

    @cached_property
    def event(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Answering)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that is killed on purpose breaks its connections: nothing to print."""


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    receiver: "WebhookReceiver"

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.request)

    def finish(self) -> None:
        self.server.connections.discard(self.request)
        super().finish()

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if len(body) < length:  # the sender died within its request
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        status = self.server.receiver.take(Received(time.monotonic(), self.path, headers, body))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Nothing: pytest shows what a test needs."""


class WebhookReceiver:
    """Answers 200, or what `answer_next` lined up; `requests` are all that came."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: list[Received] = []
        self._planned: deque[int] = deque()
        self._server = _Server()
        self._server.receiver = self
        serve = {"poll_interval": 0.05}
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs=serve)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    @property
    def requests(self) -> list[Received]:
        with self._changed:
            return list(self._requests)

    def answer_next(self, *statuses: int) -> None:
        """Statuses of the next requests, one each."""
        with self._changed:
            self._planned.extend(statuses)

    def take(self, request: Received) -> int:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
            return self._planned.popleft() if self._planned else 200

    def wait_for(
        self, enough: Callable[[list[Received]], bool], *, seconds: float
    ) -> list[Received]:
        """All requests as soon as they are enough; the test fails after `seconds`."""
        with self._changed:
            if not self._changed.wait_for(lambda: enough(self._requests), seconds):
                pytest.fail(f"{len(self._requests)} requests in {seconds} s were not enough")
            return list(self._requests)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        for connection in tuple(self._server.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the sender was faster
        self._server.server_close()


@contextmanager
def webhook_receiver() -> Iterator[WebhookReceiver]:
    one = WebhookReceiver()
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    """One for this test alone."""
    with webhook_receiver() as one:
        yield one
