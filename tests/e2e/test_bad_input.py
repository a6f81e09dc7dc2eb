"""Bad input at the doors of the running program, each with its exact answer.

What the server refuses before the application sees it is tested byte by byte in
tests/integration/http; here are samples of it, through the real program.
"""

import base64
import hmac
import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.support.appliance import (
    OPEN_CONFIG,
    Answer,
    Appliance,
    Client,
    appliance_in_temporary_root,
)

CODES = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    412: "version_conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    431: "header_too_large",
}
UNKNOWN = "0123456789abcdef01234567"
LEFT_OUT = "(left out)"
NOBODY = {"Authorization": LEFT_OUT}


class Ground:
    """A running program with two companies; rows name what is on it by `{name}`."""

    def __init__(self, appliance: Appliance) -> None:
        self.appliance = appliance
        self.admin = appliance.found_company(name="Acme")
        self.stranger = Client(appliance, token=self._register("Bolt")["accessToken"])
        hook = {"url": "http://127.0.0.1:9/", "events": ["task.updated"]}
        self.names = {
            "task": self.admin.create_task("Ours")["id"],
            "foreign_task": self.stranger.create_task("Theirs")["id"],
            "foreign_webhook": self.stranger.post("/webhooks", hook).must(201)["id"],
            "foreign_user": self.stranger.get("/auth/me").must(200)["id"],
            "project": self.admin.post("/projects", {"name": "Ours"}).must(201)["id"],
            "foreign_project": self.stranger.post("/projects", {"name": "Theirs"}).must(201)["id"],
            "department": self.admin.post("/departments", {"name": "Ours"}).must(201)["id"],
            "foreign_department": self.stranger.post("/departments", {"name": "Theirs"}).must(201)[
                "id"
            ],
            "unknown": UNKNOWN,
        }

    def _register(self, company: str) -> Any:
        command = {
            "companyName": company,
            "name": "Grace",
            "email": f"grace@{company.lower()}.example",
            "password": "correct horse battery staple",
        }
        return Client(self.appliance).post("/auth/register", command).must(201)

    @cached_property
    def token(self) -> str:
        return self.admin.headers["Authorization"].removeprefix("Bearer ")

    def filled(self, text: str) -> str:
        return re.sub(r"{(\w+)}", lambda found: self.names[found[1]], text)

    def send(self, request: bytes) -> Answer:
        """What the program answers to these bytes; then it must still be well."""
        host, _, port = self.appliance.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=15) as connection:
            connection.sendall(request)
            response = http.client.HTTPResponse(connection, method=request[:4].decode("latin-1"))
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, headers, response.read())
            response.close()
        assert self.admin.get("/auth/me").status == 200
        return answer


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    config = OPEN_CONFIG + '\n[registration]\nmode = "open"\n'
    with appliance_in_temporary_root(config) as appliance:
        appliance.start()
        yield Ground(appliance)


@dataclass(frozen=True)
class Row:
    """One request to `/api/v1`, by the administrator where `fields` say nothing else."""

    name: str
    status: int
    line: str
    body: Any = None
    fields: dict[str, str] = field(default_factory=dict)
    path: str | None = None  # of the unacceptable value
    code: str = ""

    def request(self, ground: Ground) -> bytes:
        method, _, target = ground.filled(self.line).partition(" ")
        body = self.body
        if body is not None and not isinstance(body, bytes):
            body = ground.filled(json.dumps(body)).encode()
        fields = {"Host": "novapulse", "Authorization": f"Bearer {ground.token}"}
        if body is not None:
            fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        fields |= self.fields
        lines = [f"{name}: {value}" for name, value in fields.items() if value != LEFT_OUT]
        head = "\r\n".join([f"{method} /api/v1{target} HTTP/1.1", *lines, "", ""])
        return head.encode("latin-1") + (body or b"")


def task(name: str, body: Any, path: str) -> Row:
    """A task that can not be created, for the value at `path`."""
    return Row(name, 422, "POST /tasks", body, path=path)


def unread(name: str, body: bytes) -> Row:
    """A task whose JSON is none."""
    return Row(name, 400, "POST /tasks", body)


def search(name: str, query: str, path: str) -> Row:
    """A list that is asked for with an unacceptable parameter."""
    return Row(name, 422, f"GET /tasks?{query}", path=path)


def project(name: str, body: Any, path: str) -> Row:
    """A project that can not be created, for the value at `path`."""
    return Row(name, 422, "POST /projects", body, path=path)


def department(name: str, body: Any, path: str) -> Row:
    return Row(name, 422, "POST /departments", body, path=path)


def comment(name: str, body: Any, path: str) -> Row:
    return Row(name, 422, "POST /tasks/{task}/comments", body, path=path)


def login(name: str, body: Any, path: str) -> Row:
    return Row(name, 422, "POST /auth/login", body, NOBODY, path=path)


def guess(name: str, email: str) -> Row:
    """A sign-in that fails; it must not tell what was wrong."""
    body = {"email": email, "password": "a wrong password"}
    return Row(name, 401, "POST /auth/login", body, NOBODY, code="bad_credentials")


BODIES = [
    unread("an empty body", b""),
    unread("no JSON", b"title=x"),
    unread("JSON with a comment", b'{"title":"x"/**/}'),
    unread("single quotes", b"{'title':'x'}"),
    unread("a comma too many", b'{"title":"x",}'),
    unread("two documents", b'{"title":"x"}{"title":"y"}'),
    unread("half a document", b'{"title":"x'),
    unread("a key twice", b'{"title":"x","title":"y"}'),
    unread("a key twice, once escaped", b'{"title":"x","\\u0074itle":"y"}'),
    unread("a key twice inside", b'{"title":"x","labels":[{"a":1,"a":2}]}'),
    unread("NaN", b'{"title":NaN}'),
    unread("an infinity", b'{"title":-Infinity}'),
    unread("a lone surrogate", b'{"title":"\\ud800"}'),
    unread("NUL, escaped", b'{"title":"a\\u0000b"}'),
    unread("NUL", b'{"title":"a\0b"}'),
    unread("a raw line feed", b'{"title":"a\nb"}'),
    unread("bytes that are not UTF-8", b'{"title":"\xff"}'),
    unread("UTF-16", '{"title":"x"}'.encode("utf-16")),
    unread("a byte order mark", b'\xef\xbb\xbf{"title":"x"}'),
    unread("100,000 arrays", b'{"title":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    unread("33 objects", b'{"a":' * 33 + b"1" + b"}" * 33),
    task("no object", [], ""),
    task("null", b"null", ""),
    task("a text", "x", ""),
    task("no title", {}, "title"),
    task("an empty title", {"title": ""}, "title"),
    task("a title of 201 characters", {"title": "x" * 201}, "title"),
    task("a number for a title", {"title": 1}, "title"),
    task("null for a title", {"title": None}, "title"),
    task("an operator for a title", {"title": {"$gt": ""}}, "title"),
    task("a control character in a title", {"title": "a\x01b"}, "title"),
    task("a line feed in a title", {"title": "a\nb"}, "title"),
    task("a deletion in a title", {"title": "a\x7fb"}, "title"),
    task("an operator as a field", {"title": "x", "$where": "sleep(9)"}, "$where"),
    task("an unknown field", {"title": "x", "colour": "blue"}, "colour"),
    task("another company", {"title": "x", "companyId": UNKNOWN}, "companyId"),
    task("a made-up status", {"title": "x", "status": "finished"}, "status"),
    task("an operator for a status", {"title": "x", "status": {"$ne": "done"}}, "status"),
    task("labels that are no list", {"title": "x", "labels": "a"}, "labels"),
    task("an operator among labels", {"title": "x", "labels": ["a", {"$gt": ""}]}, "labels[1]"),
    task("too many labels", {"title": "x", "labels": ["a"] * 51}, "labels"),
    task("an assignee of no shape", {"title": "x", "assigneeId": "me"}, "assigneeId"),
    task("an operator for an assignee", {"title": "x", "assigneeId": {"$ne": 1}}, "assigneeId"),
    task("an unknown assignee", {"title": "x", "assigneeId": "{unknown}"}, "assigneeId"),
    task("a foreign assignee", {"title": "x", "assigneeId": "{foreign_user}"}, "assigneeId"),
    task("an operator for a project", {"title": "x", "projectId": {"$ne": 1}}, "projectId"),
    task("an unknown project", {"title": "x", "projectId": "{unknown}"}, "projectId"),
    task("a foreign project", {"title": "x", "projectId": "{foreign_project}"}, "projectId"),
    task("an integer over 2^53", b'{"title":9007199254740993}', "title"),
    task("a number out of range", b'{"title":"x","dueAt":1e999}', "dueAt"),
    *(
        task(f"{moment} as a time", {"title": "x", "dueAt": moment}, "dueAt")
        for moment in (
            *("2026-02-30T00:00:00Z", "2025-02-29T00:00:00Z", "2026-13-01T00:00:00Z"),
            *("2026-01-01T25:00:00Z", "2026-01-01T00:00:00", "2026-01-01", "tomorrow", ""),
            *("2026-01-01T00:00:00+99:00", "10000-01-01T00:00:00Z", 1_767_225_600),
        )
    ),
]

WORK = [
    project("a project without a name", {}, "name"),
    project("a project's name of 121 characters", {"name": "x" * 121}, "name"),
    project("a project's made-up status", {"name": "x", "status": "gone"}, "status"),
    project("a project's operator", {"name": "x", "$set": {"status": "archived"}}, "$set"),
    project("an unknown member", {"name": "x", "memberIds": ["{unknown}"]}, "memberIds[0]"),
    project("a foreign member", {"name": "x", "memberIds": ["{foreign_user}"]}, "memberIds[0]"),
    project("501 members", {"name": "x", "memberIds": [UNKNOWN] * 501}, "memberIds"),
    project(
        "an end before the start",
        {"name": "x", "startsAt": "2026-01-02T00:00:00Z", "endsAt": "2026-01-01T00:00:00Z"},
        "endsAt",
    ),
    department("a department without a name", {}, "name"),
    department("a foreign leader", {"name": "x", "managerId": "{foreign_user}"}, "managerId"),
    department("an operator for a leader", {"name": "x", "managerId": {"$ne": 1}}, "managerId"),
    Row(
        "a department's name again",
        409,
        "POST /departments",
        {"name": "OURS"},
        code="department_exists",
    ),
    comment("an empty comment", {"body": ""}, "body"),
    comment("a comment of 10,001 characters", {"body": "x" * 10_001}, "body"),
    comment("an operator for a comment", {"body": {"$gt": ""}}, "body"),
    comment("a comment in another's name", {"body": "x", "authorId": UNKNOWN}, "authorId"),
    comment("51 mentions", {"body": " ".join(f"@a@{n}.example" for n in range(51))}, "body"),
    Row("a comment with NUL", 400, "POST /tasks/{task}/comments", b'{"body":"a\\u0000"}'),
]

SEARCHES = [
    search("a limit of 0", "limit=0", "limit"),
    search("a limit of 201", "limit=201", "limit"),
    search("a signed limit", "limit=%2B5", "limit"),
    search("a negative limit", "limit=-1", "limit"),
    search("a limit in words", "limit=all", "limit"),
    search("a full-width limit", "limit=%EF%BC%95", "limit"),
    search("a limit with an underscore", "limit=1_0", "limit"),
    search("a limit of 30 digits", "limit=" + "9" * 30, "limit"),
    search("a parameter twice", "limit=1&limit=2", "limit"),
    search("an unknown parameter", "colour=blue", "colour"),
    search("an operator in a name", "status[$ne]=done", "status[$ne]"),
    search("an operator in a value", "status=%7B%22$ne%22:1%7D", "status"),
    search("a made-up status", "status=finished", "status"),
    search("an id of no shape", "assigneeId=me", "assigneeId"),
    search("a search without a word", "q=.*", "q"),
    search("a long search", "q=" + "x" * 65, "q"),
    search("a made-up order", "sort=title", "sort"),
    search("a pattern as an operator", "q[$regex]=.*", "q[$regex]"),
    search("a due time in words", "dueBefore=tomorrow", "dueBefore"),
    search("a due time without a zone", "dueAfter=2026-01-01T00:00:00", "dueAfter"),
    search("a time beyond all calendars", "dueAfter=0001-01-01T00:00:00%2B09:00", "dueAfter"),
    search("an empty label", "label=", "label"),
    Row("projects of a made-up status", 422, "GET /projects?status=gone", path="status"),
    Row("departments of nobody", 422, "GET /departments?memberId=me", path="memberId"),
    Row("activity from a made-up place", 422, "GET /tasks/{task}/activity?cursor=x", path="cursor"),
    search("a cursor that is none", "cursor=abc", "cursor"),
    search("a long cursor", "cursor=" + "a" * 500, "cursor"),
    search("a value that is not UTF-8", "status=%FF", "status"),
    search("NUL", "cursor=%00", "cursor"),
    search("half an escape", "status=%4", "status"),
    Row("a parameter where there is none", 422, "GET /auth/me?debug=1", path="debug"),
]

PLACES = [
    Row("an unknown path", 404, "GET /nowhere"),
    Row("a path out of the API", 404, "GET /../../etc/passwd"),
    Row("an escaped path out of the API", 404, "GET /docs/..%2f..%2fetc%2fpasswd"),
    Row("a slash too many", 404, "GET /tasks/"),
    Row("an id of no shape", 404, "GET /tasks/1"),
    Row("an id with NUL", 404, "GET /tasks/%00"),
    Row("an id that is not UTF-8", 404, "GET /tasks/%FF"),
    Row("an operator for an id", 404, "GET /tasks/%7B%22$ne%22:1%7D"),
    Row("an unknown id", 404, "GET /tasks/{unknown}"),
    Row("a foreign task", 404, "GET /tasks/{foreign_task}"),
    Row("a change to a foreign task", 404, "PATCH /tasks/{foreign_task}", {"title": "x"}),
    Row("a foreign task to delete", 404, "DELETE /tasks/{foreign_task}"),
    Row("a foreign task's comments", 404, "GET /tasks/{foreign_task}/comments"),
    Row("a comment on a foreign task", 404, "POST /tasks/{foreign_task}/comments", {"body": "x"}),
    Row("a foreign task's activity", 404, "GET /tasks/{foreign_task}/activity"),
    Row("a foreign project", 404, "GET /projects/{foreign_project}"),
    Row("a change to a foreign project", 404, "PATCH /projects/{foreign_project}", {"name": "x"}),
    Row("a foreign project to archive", 404, "DELETE /projects/{foreign_project}"),
    Row("a foreign department", 404, "GET /departments/{foreign_department}"),
    Row("a foreign department to delete", 404, "DELETE /departments/{foreign_department}"),
    Row("a foreign webhook", 404, "GET /webhooks/{foreign_webhook}"),
    Row("a foreign webhook to delete", 404, "DELETE /webhooks/{foreign_webhook}"),
    Row("a foreign webhook's log", 404, "GET /webhooks/{foreign_webhook}/logs"),
    Row("a foreign user", 404, "GET /users/{foreign_user}"),
    Row("an unknown job", 404, "GET /jobs/{unknown}"),
    Row("all companies, for one's administrator", 403, "GET /companies"),
    Row("a method that is not there", 405, "PUT /tasks", {"title": "x"}),
    Row("a method in lower case", 405, "get /tasks"),
    Row("a made-up method", 405, "BREW /tasks"),
    Row("TRACE", 405, "TRACE /tasks"),
]

FIELDS = [
    Row("a form", 415, "POST /tasks", b"title=x", {"Content-Type": "text/plain"}),
    Row("no content type", 415, "POST /tasks", {"title": "x"}, {"Content-Type": LEFT_OUT}),
    Row(
        "another charset",
        415,
        "POST /tasks",
        {"title": "x"},
        {"Content-Type": "application/json; charset=latin-1"},
    ),
    Row("a compressed body", 415, "POST /tasks", b"\x1f\x8b", {"Content-Encoding": "gzip"}),
    Row("a body over 1 MiB", 413, "POST /tasks", b" " * 1_048_577),
    Row(
        "chunks over 1 MiB",
        413,
        "POST /tasks",
        b"100001\r\n" + b" " * 0x100001 + b"\r\n0\r\n\r\n",
        {"Transfer-Encoding": "chunked", "Content-Length": LEFT_OUT},
    ),
    Row("a promise of 10 GB", 413, "POST /tasks", b"", {"Content-Length": "10000000000"}),
    Row("a length that is no number", 400, "POST /tasks", b"{}", {"Content-Length": "0x2"}),
    Row("two lengths", 400, "POST /tasks", b"{}", {"content-length": "3"}),
    Row("a length and chunks", 400, "POST /tasks", b"0\r\n\r\n", {"Transfer-Encoding": "chunked"}),
    Row(
        "a bad chunk",
        400,
        "POST /tasks",
        b"x\r\n",
        {"Transfer-Encoding": "chunked", "Content-Length": LEFT_OUT},
    ),
    Row("no host", 400, "GET /tasks", fields={"Host": LEFT_OUT}),
    Row("a space before the colon", 400, "GET /tasks", fields={"X-Any ": "x"}),
    Row("a control character in a field", 400, "GET /tasks", fields={"X-Any": "a\x01"}),
    Row("150 fields", 431, "GET /tasks", fields={f"X-{n}": "x" for n in range(150)}),
    Row("16 KiB in 90 fields", 431, "GET /tasks", fields={f"X-{n}": "x" * 200 for n in range(90)}),
    Row("a field of 40 KiB", 431, "GET /tasks", fields={"X-Any": "x" * 40_960}),
    Row("a version that is none", 412, "PATCH /tasks/{task}", {"title": "x"}, {"If-Match": '"x"'}),
    Row("a stale task to delete", 412, "DELETE /tasks/{task}", fields={"If-Match": '"99"'}),
    Row("a stale project", 412, "DELETE /projects/{project}", fields={"If-Match": '"99"'}),
    Row("a stale department", 412, "DELETE /departments/{department}", fields={"If-Match": '"9"'}),
    Row("a stale version", 412, "PATCH /tasks/{task}", {"title": "x"}, {"If-Match": '"99"'}),
    Row(
        "a long idempotency key", 422, "POST /tasks", {"title": "x"}, {"Idempotency-Key": "k" * 300}
    ),
    Row("no credentials", 401, "GET /tasks", fields=NOBODY),
    Row("a password for a token", 401, "GET /tasks", fields={"Authorization": "Basic YTpi"}),
    Row("an empty token", 401, "GET /tasks", fields={"Authorization": "Bearer "}),
    Row("two kinds of token", 401, "GET /tasks", fields={"authorization": "Bearer x"}),
    Row("a made-up API token", 401, "GET /tasks", fields={"Authorization": "Bearer nvp_x"}),
    Row("bytes over 127 for a token", 401, "GET /tasks", fields={"Authorization": "Bearer \xff"}),
    login("an operator for an address", {"email": {"$gt": ""}, "password": "x"}, "email"),
    login(
        "an operator for a password", {"email": "a@b.example", "password": {"$ne": 1}}, "password"
    ),
    guess("a wrong password", "ada@acme.example"),
    guess("an unknown address", "eve@acme.example"),
]

ROWS = [*BODIES, *WORK, *SEARCHES, *PLACES, *FIELDS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_bad_request_gets_its_problem(ground: Ground, row: Row) -> None:
    answer = ground.send(row.request(ground))
    problem = answer.must(row.status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == row.status
    assert problem["code"] == (row.code or CODES[row.status])
    assert problem["requestId"] == answer.headers["x-request-id"]
    if row.path is not None:
        assert [error["path"] for error in problem["errors"]] == [row.path]
    if row.status == 405:
        assert "GET" in answer.headers["allow"]
    if row.status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")


# Tokens.


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def read(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


class Forger:
    """Makes tokens with the program's own key, as somebody could who stole nothing but one."""

    def __init__(self, ground: Ground) -> None:
        found = next(ground.appliance.root.rglob("token-keys.json"))
        kept = json.loads(found.read_bytes())
        self.key = base64.b64decode(kept["keys"][kept["current"]])
        header, claims, _ = ground.token.split(".")
        self.header, self.claims = read(header), read(claims)

    def token(
        self,
        header: dict[str, Any] | None = None,
        claims: dict[str, Any] | None = None,
        *,
        key: bytes | None = None,
        digest: str = "sha256",
    ) -> str:
        """The genuine token with these changes (None leaves a member out), signed anew."""
        signed = ".".join(
            part({name: value for name, value in members.items() if value is not None})
            for members in (self.header | (header or {}), self.claims | (claims or {}))
        )
        secret = self.key if key is None else key
        return f"{signed}.{part(hmac.digest(secret, signed.encode(), digest))}"


@pytest.fixture(scope="module")
def forger(ground: Ground) -> Forger:
    return Forger(ground)


def test_a_forger_with_the_key_makes_tokens_that_work(ground: Ground, forger: Forger) -> None:
    assert Client(ground.appliance, token=forger.token()).get("/tasks").status == 200


FORGERIES: dict[str, dict[str, Any]] = {
    "no algorithm": {"header": {"alg": "none"}},
    "no algorithm, in capitals": {"header": {"alg": "NONE"}},
    "another algorithm": {"header": {"alg": "HS512"}, "digest": "sha512"},
    "an asymmetric algorithm": {"header": {"alg": "RS256"}},
    "no algorithm named": {"header": {"alg": None}},
    "no key id": {"header": {"kid": None}},
    "an unknown key id": {"header": {"kid": "j00000000"}},
    "a path for a key id": {"header": {"kid": "../../../../dev/null"}, "key": b""},
    "a list for a key id": {"header": {"kid": ["a"]}},
    "a key in the header": {
        "header": {"jwk": {"kty": "oct", "k": part(b"k" * 32)}},
        "key": b"k" * 32,
    },
    "a key address in the header": {"header": {"jku": "http://127.0.0.1:9/keys"}},
    "a critical header": {"header": {"crit": ["exp"]}},
    "another type of token": {"claims": {"typ": "refresh"}},
    "no type": {"claims": {"typ": None}},
    "another audience": {"claims": {"aud": "somebody-else"}},
    "another issuer": {"claims": {"iss": "somebody-else"}},
    "no audience": {"claims": {"aud": None}},
    "no end": {"claims": {"exp": None}},
    "an end in the past": {"claims": {"exp": 1}},
    "an end in words": {"claims": {"exp": "never"}},
    "an infinite end": {"claims": {"exp": float("inf")}},
    "a start in the future": {"claims": {"nbf": 4_000_000_000}},
    "made in the future": {"claims": {"iat": 4_000_000_000}},
    "no session": {"claims": {"sid": None}},
    "an unknown session": {"claims": {"sid": UNKNOWN}},
    "an operator for a session": {"claims": {"sid": {"$ne": ""}}},
    "somebody else's name": {"claims": {"sub": UNKNOWN}},
    "another key": {"key": b"x" * 48},
    "an empty key": {"key": b""},
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_token_is_no_credential(ground: Ground, forger: Forger, name: str) -> None:
    forged = Client(ground.appliance, token=forger.token(**FORGERIES[name]))
    assert forged.get("/tasks").must(401)["code"] == "unauthenticated"


DAMAGES = {
    "without a signature": lambda token: token.rpartition(".")[0] + ".",
    "in two parts": lambda token: token.rpartition(".")[0],
    "in four parts": lambda token: token + ".x",
    "with a changed claim": lambda token: token.replace(".", ".e", 1),
    "with a space inside": lambda token: token.replace(".", " .", 1),
    "of no letters": lambda _: "...",
    "of 12,000 letters": lambda _: "a" * 12_000,
    "of deep JSON": lambda _: f"{part(b'[' * 5_000)}.{part({})}.x",
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_token_is_no_credential(ground: Ground, name: str) -> None:
    damaged = Client(ground.appliance, token=DAMAGES[name](ground.token))
    assert damaged.get("/tasks").must(401)["code"] == "unauthenticated"


def test_a_role_in_a_token_gives_no_rights(ground: Ground, forger: Forger) -> None:
    claims = {"role": "super_admin", "cid": None}
    promoted = Client(ground.appliance, token=forger.token(claims=claims))
    assert promoted.get("/companies").status in (401, 403)


def test_a_company_in_a_token_or_header_opens_no_other_company(
    ground: Ground, forger: Forger
) -> None:
    theirs = ground.stranger.get("/company").must(200)["id"]
    token = forger.token(claims={"cid": theirs})
    headers = {"X-NovaPulse-Company": theirs}
    for client in (Client(ground.appliance, token=token), ground.admin):
        answer = client.call("GET", f"/tasks/{ground.names['foreign_task']}", headers=headers)
        assert answer.status in (401, 404)


# Twenty at once.


def test_twenty_requests_with_one_idempotency_key_make_one_task(ground: Ground) -> None:
    def create(_: int) -> Answer:
        return ground.admin.post("/tasks", {"title": "Only once"}, key="twenty-at-once")

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(create, range(20)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_one_idempotency_key_takes_no_second_request(ground: Ground) -> None:
    ground.admin.post("/tasks", {"title": "First"}, key="two-requests").must(201)
    second = ground.admin.post("/tasks", {"title": "Second"}, key="two-requests")
    assert second.must(409)["code"]


def test_a_request_that_never_ends_is_cut_and_holds_up_nobody(ground: Ground) -> None:
    host, _, port = ground.appliance.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=15) as connection:
        started = time.monotonic()
        connection.sendall(b"GET /api/v1/tasks HTTP/1.1\r\nHost: a\r\n")
        assert ground.admin.get("/auth/me").status == 200
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - started > 9


# The command line and the file.


@dataclass(frozen=True)
class Verb:
    """Words of a command line, its exit code, and what it must say."""

    words: tuple[str, ...]
    code: int
    says: str


VERBS = [
    Verb(("stats",), 2, "stats"),
    Verb(("status", "--jsn"), 2, "--jsn"),
    Verb(("run", "--listen", "nowhere"), 78, "listen"),
    Verb(("run", "--listen", "127.0.0.1:99999"), 78, "listen"),
    Verb(("config", "explain"), 2, "KEY"),
    Verb(("config", "explain", "server.listne"), 66, "server.listen"),
    Verb(("user", "create"), 2, "EMAIL"),
    Verb(("user", "create", "--super-admin", "no-address"), 65, "email:"),
    Verb(("user", "create", "--super-admin", "ada@acme.example"), 65, "e-mail"),
    Verb(("user", "disable", "nobody@nowhere.example"), 66, "nobody@"),
    Verb(("job", "show", "job_none"), 66, "no such"),
    Verb(("job", "retry", "$ne"), 66, "no such"),
    Verb(("queue", "pause", "post"), 66, "post"),
]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: " ".join(verb.words))
def test_a_bad_command_line_gets_its_exit_code(ground: Ground, verb: Verb) -> None:
    done = ground.appliance.cli(*verb.words)
    assert (done.returncode, done.stdout) == (verb.code, ""), done.stderr
    assert verb.says.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr


FILES = {
    "no TOML": (b"listen: 5000\n", "config.toml:1"),
    "a key twice": (b"[server]\nprocesses = 1\nprocesses = 2\n", "config.toml:3"),
    "a misspelt key": (b'[server]\nlisten_adress = "x"\n', "listen"),
    "a misspelt section": (b"[sever]\nprocesses = 1\n", "server"),
    "a text for a number": (b'[server]\nprocesses = "many"\n', "processes"),
    "a number out of range": (b"[server]\nprocesses = 0\n", "processes"),
    "a time out of range": (b"[server]\nheader_timeout_seconds = 0\n", "header_timeout_seconds"),
    "an infinite time": (b"[server]\nbody_timeout_seconds = inf\n", "body_timeout_seconds"),
    "an address that is none": (b'[server]\nlisten = "nowhere"\n', "listen"),
    "a network that is none": (b'[server]\ntrusted_proxies = ["10.0.0.1/8"]\n', "trusted_proxies"),
    "a rate that is none": (b'[rate_limits]\nlogin = "often"\n', "login"),
    "a choice that is none": (b'[registration]\nmode = "maybe"\n', "mode"),
    "a weaker write concern": (b'[mongo]\nuri = "mongodb://a/?replicaSet=b&w=1"\n', "w=1"),
    "bytes that are not UTF-8": (b'[server]\nlisten = "\xff"\n', "UTF-8"),
    "NUL": (b'[server]\nlisten = "\0"\n', "config.toml:2"),
    "deep nesting": (b"a = " + b"[" * 10_000, "config.toml"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_configuration_is_refused_by_check_and_by_run(tmp_path: Path, name: str) -> None:
    content, word = FILES[name]
    appliance = Appliance(tmp_path)
    appliance.root.mkdir()
    (appliance.root / "config.toml").write_bytes(content)
    for words in (("config", "check"), ("run",)):
        done = appliance.cli(*words)
        assert (done.returncode, done.stdout) == (78, ""), done.stderr
        assert word in done.stderr
        assert "Traceback" not in done.stderr
    assert [path.name for path in appliance.root.iterdir()] == ["config.toml"]
