"""The request path, pure ASGI: a gate around everything, an endpoint per route.

Gate: request id, problem answers, metrics, one log line, drain header.
Endpoint: credentials → limit → decode → handler → answer.
"""

import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

import structlog

from novapulse.core import errors, problem
from novapulse.core.telemetry import logs, metrics, tracing

ASGIScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[ASGIScope, Receive, Send], Awaitable[None]]

STATE = "novapulse"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_JSON = re.compile(rb'application/json(?:[ \t]*;[ \t]*charset="?utf-8"?)?', re.IGNORECASE)
_BODILESS = (204, 304)  # RFC 9110, section 8.6: no Content-Length either, or not this one
_ALWAYS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]
log = structlog.get_logger("http")


class RequestState:
    """What the gate and the endpoint tell each other about one request."""

    __slots__ = (
        *("address", "code", "company_id", "headers", "request_id", "route", "status", "user_id"),
    )

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        self.headers = headers
        given = headers.get(b"x-request-id")
        is_usable = given is not None and _REQUEST_ID.fullmatch(given) is not None
        self.request_id = given.decode() if given and is_usable else secrets.token_hex(16)
        self.address = ""
        self.route = "unmatched"
        self.status = 500
        self.code = ""
        self.company_id: str | None = None
        self.user_id: str | None = None


class Gate:
    """The outermost application. Set `is_draining` and answers ask to close the connection."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.is_draining = False
        self.in_flight = 0
        self.answered = 0

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _refuse(scope, receive, send)
            return
        started = time.perf_counter()
        state = RequestState(_joined(scope["headers"]))
        scope[STATE] = state
        logs.request_id_of_task.set(state.request_id)
        span = tracing.enter_request(state.headers)
        has_started = False

        async def send_on(message: MutableMapping[str, Any]) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                state.status = message["status"]
                message["headers"] = self._headers(message["headers"], state)
            await send(message)

        self.in_flight += 1
        try:
            await self._app(scope, receive, send_on)
        except Exception as error:  # the last place that can turn it into an answer
            status, headers, body, state.code = problem.render(error, state.request_id)
            if status == 500:
                log.exception("http.failed", route=state.route)
            if has_started:
                raise
            await answer(send_on, status, headers=headers, body=body)
        finally:
            self.in_flight -= 1
            self.answered += 1
            self._account(scope["method"], state, time.perf_counter() - started)
            if span is not None:
                _leave(span, scope["method"], state)

    def _headers(self, headers: Any, state: RequestState) -> problem.Headers:
        complete = [*headers, *_ALWAYS, (b"x-request-id", state.request_id.encode())]
        if self.is_draining:
            complete.append((b"connection", b"close"))
        return complete

    def _account(self, method: str, state: RequestState, seconds: float) -> None:
        _count(method, state, seconds)
        logs.write(
            "http.request",
            method=method,
            route=state.route,
            status=state.status,
            code=state.code or None,
            seconds=round(seconds, 6),
            companyId=state.company_id,
            userId=state.user_id,
        )


def _leave(span: Any, method: str, state: RequestState) -> None:
    span.leave(
        method=method if method in _METHODS else "other",
        route=state.route,
        status=state.status,
        request_id=state.request_id,
    )


def _count(method: str, state: RequestState, seconds: float) -> None:
    # A method is whatever the client writes: each one would be a time series for ever.
    method = method if method in _METHODS else "other"
    duration, total = metrics.http_request(method, state.route, state.status)
    duration.observe(seconds)
    total.inc()
    if state.status >= 400:
        labels = (method, state.route, str(state.status), state.code)
        metrics.http_request_errors_total.labels(*labels).inc()


def refusal(error: errors.Error) -> tuple[int, problem.Headers, bytes]:
    """The answer to bytes that are no request; logged and counted as requests are."""
    state = RequestState({})
    state.status, headers, body, state.code = problem.render(error, state.request_id)
    _count("other", state, 0.0)
    log.info(
        "http.refused",
        status=state.status,
        code=state.code,
        detail=error.detail,
        requestId=state.request_id,
    )
    length = (b"content-length", str(len(body)).encode())
    own = (b"x-request-id", state.request_id.encode())
    return state.status, [*headers, *_ALWAYS, own, length], body


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """By name; what is sent in several lines is one list (RFC 9110, section 5.3)."""
    lines = list(headers)
    table = dict(lines)
    if len(table) == len(lines):
        return table
    table.clear()
    for name, value in lines:
        table[name] = table[name] + b", " + value if name in table else value
    return table


async def _refuse(scope: ASGIScope, receive: Receive, send: Send) -> None:
    """Lifespan events are answered (the process does their work); websockets are closed."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def answer(
    send: Send, status: int, *, headers: problem.Headers, body: bytes, is_head: bool = False
) -> None:
    """One whole response; to HEAD, all of it but the body."""
    if status not in _BODILESS:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else body})


def has_body(headers: Mapping[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], *, max_bytes: int) -> bytes:
    """The request's body, counted while it streams.

    Raises:
        TooLarge: before anything is read when the header tells the length.
        Malformed: the body broke off.
    """
    if int(headers.get(b"content-length", b"0")) > max_bytes:
        raise errors.TooLarge(f"The body is over {max_bytes} bytes")
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise errors.Malformed("The body is not complete")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise errors.TooLarge(f"The body is over {max_bytes} bytes")
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def require_json(headers: Mapping[bytes, bytes]) -> None:
    """Raises UnsupportedMediaType for a body that is not plain JSON in UTF-8."""
    if not _JSON.fullmatch(headers.get(b"content-type", b"")):
        raise errors.UnsupportedMediaType("Send the body as application/json in UTF-8")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise errors.UnsupportedMediaType("Send the body without a content encoding")
