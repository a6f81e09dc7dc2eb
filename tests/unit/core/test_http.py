"""The gate around every request, and how bodies are read."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from novapulse.core import errors
from novapulse.core.http import Gate, answer, read_body, require_json
from novapulse.core.telemetry import metrics

Message = dict[str, Any]


async def fine(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, 200, [(b"content-type", b"text/plain")], b"fine")


def failing(error: Exception) -> Callable[..., Awaitable[None]]:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise error

    return fail


async def nothing_more() -> Message:
    return {"type": "http.disconnect"}


async def through(gate: Gate, *, method: str = "GET", **headers: str) -> list[Message]:
    """What the gate sends for one request."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    await gate({"type": "http", "method": method, "headers": pairs}, nothing_more, send)
    return sent


def headers_of(sent: list[Message]) -> dict[str, str]:
    return {name.decode(): text.decode() for name, text in sent[0]["headers"]}


async def test_a_clients_request_id_is_taken_up() -> None:
    sent = await through(Gate(fine), x_request_id="Order-7.retry_2")
    assert headers_of(sent)["x-request-id"] == "Order-7.retry_2"


@pytest.mark.parametrize("given", ["", " ", "a b", "a\nb", "a\r\nset-cookie: x", "é", "a" * 129])
async def test_a_strange_request_id_is_replaced(given: str) -> None:
    sent = await through(Gate(fine), x_request_id=given)
    assert len(headers_of(sent)["x-request-id"]) == 32


async def test_every_request_gets_an_id_of_its_own() -> None:
    ids = {headers_of(await through(Gate(fine)))["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


@pytest.mark.parametrize("app", [fine, failing(errors.NotFound()), failing(RuntimeError("bug"))])
async def test_nothing_is_cached_or_guessed_at(app: Any) -> None:
    headers = headers_of(await through(Gate(app)))
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


async def test_a_bug_is_answered_without_its_words() -> None:
    sent = await through(Gate(failing(RuntimeError("hunter2"))))
    assert sent[0]["status"] == 500
    assert b"hunter2" not in sent[1]["body"]
    assert headers_of(sent)["x-request-id"].encode() in sent[1]["body"]


async def test_only_a_draining_gate_asks_to_close_the_connection() -> None:
    gate = Gate(fine)
    assert "connection" not in headers_of(await through(gate))
    gate.is_draining = True
    assert headers_of(await through(gate))["connection"] == "close"


async def test_an_error_after_the_first_byte_breaks_the_connection() -> None:
    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("too late to answer")

    with pytest.raises(RuntimeError, match="too late"):
        await through(Gate(half))


async def test_websockets_are_closed() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await Gate(fine)({"type": "websocket"}, nothing_more, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_server_may_ask_for_the_lifespan() -> None:
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await Gate(fine)({"type": "lifespan"}, receive, send)
    assert [m["type"] for m in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def label_values(registry: CollectorRegistry, name: str, label: str) -> set[str]:
    return {
        sample.labels[label]
        for metric in registry.collect()
        if metric.name == name
        for sample in metric.samples
        if label in sample.labels
    }


async def test_made_up_methods_do_not_become_metrics() -> None:
    gate = Gate(failing(errors.NotFound()))
    for number in range(50):
        await through(gate, method=f"MADEUP{number}")
    seen = label_values(metrics.registry, "http_requests", "method")
    assert len([method for method in seen if method.startswith("MADEUP")]) <= 1


def test_our_metrics_are_not_in_the_librarys_own_registry() -> None:
    assert not label_values(REGISTRY, "http_requests", "method")


def chunked(*chunks: bytes) -> Callable[[], Awaitable[Message]]:
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, start=1)
    ]

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    return receive


async def test_a_body_may_come_in_pieces() -> None:
    assert await read_body(chunked(b"ab", b"", b"c"), {}, max_bytes=3) == b"abc"


async def test_a_body_is_counted_while_it_comes() -> None:
    endless = chunked(*[b"x" * 100] * 50)
    with pytest.raises(errors.TooLarge):
        await read_body(endless, {}, max_bytes=1_000)
    assert (await endless())["type"] == "http.request", "the rest was not read"


async def test_a_body_that_says_it_is_too_large_is_not_read_at_all() -> None:
    waiting = chunked(b"x")
    with pytest.raises(errors.TooLarge):
        await read_body(waiting, {b"content-length": b"11"}, max_bytes=10)
    assert (await waiting())["body"] == b"x"


async def test_a_body_that_breaks_off_is_malformed() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(errors.Malformed):
        await read_body(receive, {}, max_bytes=10)


@pytest.mark.parametrize(
    "content_type",
    [b"application/json", b"application/json; charset=utf-8", b"Application/JSON ;charset=UTF-8"],
)
def test_json_is_accepted_in_its_spellings(content_type: bytes) -> None:
    require_json({b"content-type": content_type})
    require_json({b"content-type": content_type, b"content-encoding": b"Identity"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"content-type": b""},
        {b"content-type": b"text/plain"},
        {b"content-type": b"application/json-patch+json"},
        {b"content-type": b"application/jsonx"},
        {b"content-type": b"text/plain; application/json"},
        {b"content-type": b"application/x-www-form-urlencoded"},
        {b"content-type": b"application/json", b"content-encoding": b"gzip"},
        {b"content-type": b"application/json", b"content-encoding": b"identity, gzip"},
    ],
)
def test_other_bodies_are_refused(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(errors.UnsupportedMediaType):
        require_json(headers)
