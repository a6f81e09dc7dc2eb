"""Requests that are not as they should be, and what every answer carries."""

import json
from typing import Any

import pytest

from tests.support.api import ABSENT, Api, Person

MAX_BODY = 1_048_576


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    return await api.found_company()


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"{'title': 'x'}",
        b'{"title": "x"} {}',
        b'{"title": NaN}',
        b'{"title": "\xff\xfe"}',
        b'{"title": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"title": "x",}',
        b'{"title": "x"',
    ],
)
async def test_a_body_that_is_no_json_is_malformed(ada: Person, body: bytes) -> None:
    answer = await ada.post("/tasks", body=body, headers=JSON)
    assert (answer.status, answer.code) == (400, "malformed")


@pytest.mark.parametrize(
    "body",
    [
        b'{"title": "a", "title": "b"}',
        b'{"title": "x", "labels": ' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"title": "x", "labels": ' + b"[" * 50_000,
        b"[" * 500_000,
        b'{"a":' * 200_000,
        b'{"title": "a\\u0000b"}',
    ],
    ids=["twice", "deep", "deeper", "only arrays", "only objects", "nul"],
)
async def test_a_hostile_body_is_refused_and_never_a_bug(ada: Person, body: bytes) -> None:
    answer = await ada.post("/tasks", body=body, headers=JSON)
    assert answer.status in (400, 422)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_another_content_type_is_not_read(ada: Person, headers: dict[str, str]) -> None:
    answer = await ada.post("/tasks", body=b'{"title":"x"}', headers=headers)
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


async def test_a_body_may_be_as_large_as_allowed(ada: Person) -> None:
    body = b'{"title":"x"}'
    answer = await ada.post("/tasks", body=body + b" " * (MAX_BODY - len(body)), headers=JSON)
    assert answer.status == 201
    answer = await ada.post("/tasks", body=body + b" " * (MAX_BODY - len(body) + 1), headers=JSON)
    assert (answer.status, answer.code) == (413, "too_large")


async def test_a_large_body_in_pieces_is_cut_off(ada: Person) -> None:
    answer = await ada.send_chunks("POST", "/tasks", [b" " * 65_536] * 40)
    assert (answer.status, answer.code) == (413, "too_large")


async def test_a_body_in_pieces_is_put_together(ada: Person) -> None:
    answer = await ada.send_chunks("POST", "/tasks", [b'{"ti', b"", b'tle":', b'"x"}'])
    assert answer.status == 201


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/tasks", {"GET", "HEAD", "POST"}),
        ("DELETE", "/tasks", {"GET", "HEAD", "POST"}),
        ("OPTIONS", "/auth/login", {"POST"}),
        ("GET", "/auth/login", {"POST"}),
        ("HEAD", "/auth/login", {"POST"}),
        ("POST", "/health", {"GET", "HEAD"}),
        ("TRACE", "/tasks", {"GET", "HEAD", "POST"}),
        ("FOO", "/tasks", {"GET", "HEAD", "POST"}),
        ("get", "/tasks", {"GET", "HEAD", "POST"}),
    ],
)
async def test_another_method_is_told_what_is_allowed(
    api: Api, method: str, path: str, allowed: set[str]
) -> None:
    answer = await api.client().request(method, path)
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/nothing",
        "/tasks/",
        "/tasks//",
        "//tasks",
        "/Tasks",
        "/tasks/../tasks",
        "/tasks%2F",
        "/tasks%00",
        "/tasks%0A",
        "/health/ready/x",
        "/docs/../../model.py",
    ],
)
async def test_another_address_is_not_there(ada: Person, path: str) -> None:
    answer = await ada.get(path)
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("path", ["/auth/me", "/tasks", "/health/live", "/openapi.json"])
async def test_head_is_get_without_the_body(ada: Person, path: str) -> None:
    whole, head = await ada.get(path), await ada.request("HEAD", path)
    assert (head.status, head.body) == (whole.status, b"")
    same = {name for name in whole.headers if name not in ("x-request-id", "content-length")}
    assert {name: head.headers[name] for name in same} == {n: whole.headers[n] for n in same}


@pytest.mark.parametrize("path", ["/auth/me", "/openapi.json"])
async def test_head_tells_the_length_of_get_or_none(ada: Person, path: str) -> None:
    # RFC 9110, 8.6: any other number would be wrong.
    whole, head = await ada.get(path), await ada.request("HEAD", path)
    assert head.headers.get("content-length") in (None, whole.headers["content-length"])


@pytest.mark.parametrize(
    ("query", "path"),
    [("x=1", "x"), ("x", "x"), ("a=1&a=2", "a"), ("=1", ""), ("&", ""), ("%00=1", ""), ("%zz", "")],
)
@pytest.mark.parametrize("route", ["/auth/me", "/health/live", "/openapi.json"])
async def test_a_parameter_that_nobody_reads_is_unacceptable(
    ada: Person, route: str, query: str, path: str
) -> None:
    answer = await ada.get(f"{route}?{query}")
    assert (answer.status, answer.paths) == (422, [path])


async def test_a_bare_question_mark_is_no_parameter(ada: Person) -> None:
    assert (await ada.get("/auth/me?")).status == 200


@pytest.mark.parametrize(
    ("method", "path", "data"),
    [
        ("GET", "/auth/me", ABSENT),
        ("GET", "/nothing", ABSENT),
        ("POST", "/tasks", {}),
        ("PUT", "/tasks", ABSENT),
        ("POST", "/tasks", {"title": "x"}),
    ],
)
async def test_every_answer_carries_the_requests_id(
    ada: Person, method: str, path: str, data: Any
) -> None:
    given = {"x-request-id": "abc.DEF_1-2"}
    answer = await ada.request(method, path, data=data, headers=given)
    assert answer.headers["x-request-id"] == "abc.DEF_1-2"
    if answer.status >= 400:
        assert answer.json()["requestId"] == "abc.DEF_1-2"
        assert answer.headers["content-type"] == "application/problem+json"
    made_up = await ada.request(method, path, data=data, headers={"x-request-id": "no good"})
    assert made_up.headers["x-request-id"] not in ("", "no good")
    assert answer.headers["cache-control"] == "no-store"
    assert int(answer.headers["content-length"]) == len(answer.body)


async def test_problems_are_objects_with_the_same_members(ada: Person) -> None:
    answers = [
        await ada.get("/nothing"),
        await ada.get("/tasks?limit=0"),
        await ada.post("/tasks", body=b"{", headers=JSON),
        await ada.get("/tasks", headers={"authorization": "Bearer x"}),
    ]
    for answer in answers:
        problem = json.loads(answer.body)
        assert {"type", "title", "status", "detail", "code", "requestId"} <= set(problem)
        assert problem["status"] == answer.status


async def test_who_may_not_does_not_learn_what_is_there(api: Api, ada: Person) -> None:
    bob = await api.add_member(str(ada.company_id))
    answers = [
        await bob.get("/webhooks"),
        await bob.get(f"/webhooks/{'0' * 24}"),
        await bob.post("/webhooks", body=b"{", headers=JSON),
        await bob.get("/queue/stats"),
    ]
    assert {(answer.status, answer.code) for answer in answers} == {(403, "forbidden")}
