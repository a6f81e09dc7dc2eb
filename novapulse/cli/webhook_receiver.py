"""A small receiver for `novapulse webhook listen`: verifies what arrives and tells of it."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from novapulse.subscriptions.verifying import Verdict, verify

_MAX_BODY_BYTES = 1_048_576
_SILENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request; header names in lower case."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes
    verdict: Verdict | None

    def whole(self) -> bytes:
        """Header lines, an empty line and the body: what `webhook verify` reads."""
        lines = [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


@dataclass
class Listening:
    """How to answer. Without secrets nothing is verified; what does not verify gets a 401."""

    secrets: Sequence[str]
    status: int
    tell: Callable[[Arrival], None]
    save: Path | None = None
    arrived: list[Verdict | None] = field(default_factory=list)
    answered: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        now = time.time()
        verdict = None
        if self.secrets:
            verdict = verify(self.secrets, headers, body=body, now=now)
        arrival = Arrival(now, path, headers, body, verdict)
        with self.lock:
            self.arrived.append(verdict)
            number = len(self.arrived)
            if self.save is not None:
                (self.save / f"{number:04}.http").write_bytes(arrival.whole())
            self.tell(arrival)
        return self.status if verdict in (None, Verdict.GOOD) else 401


class Receiver(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, listening: Listening) -> None:
        self.listening = listening
        super().__init__((host, port), _Answering)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/"

    def serve(self, *, count: int | None, seconds: float | None) -> None:
        """Until so many requests came, or the time is over."""
        until = None if seconds is None else time.monotonic() + seconds
        self.timeout = 0.2
        while count is None or self.listening.answered < count:
            if until is not None and time.monotonic() >= until:
                return
            self.handle_request()


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver
    timeout = _SILENCE_SECONDS

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _MAX_BODY_BYTES:
            self.close_connection = True
            self._answer(413)
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):  # the sender died within its request
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        listening = self.server.listening
        self._answer(listening.take(self.path, headers, body))
        with listening.lock:
            listening.answered += 1

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # http.server's
        """Nothing: `tell` has said it."""
