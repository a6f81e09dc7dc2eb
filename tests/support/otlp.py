"""An OTLP/HTTP collector for whole-program tests: a real HTTP server that keeps the spans."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """What a collector gets of one; ids in hex."""

    trace: str
    id: str
    parent: str
    name: str
    process: str
    attributes: dict[str, Any]


class _Taking(BaseHTTPRequestHandler):
    collector: "Collector"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            raise AssertionError("nobody asked for that")
        self.server.collector.take(self.path, body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Nothing: pytest shows what a test needs."""


class Collector:
    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.paths: set[str] = set()
        self._spans: list[Span] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Taking)
        self._server.collector = self
        serve = {"poll_interval": 0.05}
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs=serve)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def spans(self) -> list[Span]:
        return list(self._spans)

    def take(self, path: str, body: bytes) -> None:
        self.paths.add(path)
        self.raw.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            about = _values(resource.resource.attributes)
            for scope in resource.scope_spans:
                self._spans += [_span(one, about) for one in scope.spans]

    def wait_for(self, enough: Callable[[list[Span]], bool], *, seconds: float) -> list[Span]:
        deadline = time.monotonic() + seconds
        while not enough(self.spans):
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds} s: {[one.name for one in self.spans]}")
            time.sleep(0.02)
        return self.spans

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _span(one: Any, about: dict[str, Any]) -> Span:
    return Span(
        trace=one.trace_id.hex(),
        id=one.span_id.hex(),
        parent=one.parent_span_id.hex(),
        name=one.name,
        process=about["service.instance.id"],
        attributes=_values(one.attributes),
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    one = Collector()
    try:
        yield one
    finally:
        one.close()
