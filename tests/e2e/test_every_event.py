"""Every type of event is provoked in a running program; what its receiver got fits the schema.

The schemas are those that the program itself publishes. Time is made to pass in the database for
one thing alone, an invite that nobody takes; an open circuit waits its 30 seconds.
"""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from typing import Any

import pyotp
import pytest
from pymongo import MongoClient

from tests.support.appliance import OPEN_CONFIG, PASSWORD, Appliance, Client, note
from tests.support.appliance import appliance_in_temporary_root as in_temporary_root
from tests.support.jsonschema import violations
from tests.support.receiver import Received, WebhookReceiver, webhook_receiver
from tests.support.stores import require_stores, running_stores, temporary_layout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
DATABASE = "every_event"
OPENS_AFTER = 10  # failures in a row open a webhook's circuit
# A repeat of a refresh within ten seconds is a network's doing, not a thief's.
REUSED_AFTER_SECONDS = 11.0


@dataclass
class Browser:
    """Keeps the cookies that a sign-in sets."""

    appliance: Appliance
    cookies: dict[str, str] = field(default_factory=dict)

    def post(self, path: str, body: Any = None) -> int:
        headers = {
            "Content-Type": "application/json",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "X-CSRF-Token": self.cookies.get("novapulse_csrf", ""),
        }
        connection = http.client.HTTPConnection(self.appliance.address, timeout=15)
        try:
            content = None if body is None else json.dumps(body)
            connection.request("POST", f"/api/v1{path}", content, headers)
            with connection.getresponse() as response:
                response.read()
                for header in response.headers.get_all("set-cookie", []):
                    self.cookies |= {one.key: one.value for one in SimpleCookie(header).values()}
                return response.status
        finally:
            connection.close()


@dataclass
class Scene:
    appliance: Appliance
    admin: Client
    invites: Any
    everything: WebhookReceiver
    more: dict[str, WebhookReceiver]

    def sign_in(self, email: str, password: str = PASSWORD) -> Client:
        told = Client(self.appliance).post("/auth/login", {"email": email, "password": password})
        return Client(self.appliance, token=told.must(200)["accessToken"])

    def must(self, *arguments: str) -> None:
        done = self.appliance.cli(*arguments)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    require_stores()
    with ExitStack() as stack:
        stores = stack.enter_context(running_stores(stack.enter_context(temporary_layout())))
        places = (
            f'[mongo]\nuri = "{stores.mongo_uri}"\ndatabase = "{DATABASE}"\n\n'
            f'[redis]\nurl = "{stores.redis_url}"\n\n'
        )
        one = stack.enter_context(in_temporary_root(places + OPEN_CONFIG))
        mongo: MongoClient[dict[str, Any]] = stack.enter_context(MongoClient(stores.mongo_uri))
        names = ("broken", "gone", "unwilling")
        everything, *rest = (stack.enter_context(webhook_receiver()) for _ in range(4))
        one.start()
        admin = one.found_company()
        more = dict(zip(names, rest, strict=True))
        yield Scene(one, admin, mongo[DATABASE]["invites"], everything, more)


@pytest.fixture(scope="module")
def received(scene: Scene) -> list[Received]:
    """What came of a life in which everything happens, as soon as it is all there."""
    webhook = scene.admin.subscribe(scene.everything.url, "*")
    scene.admin.post(f"/webhooks/{webhook['id']}/test", None).must(200)
    let_an_invite_lapse(scene)
    break_webhooks(scene)
    make_reports(scene)
    run_workflows(scene)
    work(scene)
    live_as_bob(scene)
    wanted = {one["name"] for one in published(scene)}

    def missing(got: list[Received]) -> set[str]:
        return wanted - {one.event["event"] for one in got}

    deadline = time.monotonic() + 100
    while missing(scene.everything.requests) and time.monotonic() < deadline:
        time.sleep(0.2)
    got = scene.everything.requests
    assert missing(got) == set(), scene.appliance.talk
    return got


def published(scene: Scene) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = scene.admin.get("/webhook-event-types").must(200)["data"]
    return listed


def let_an_invite_lapse(scene: Scene) -> None:
    invite = scene.admin.post("/invites", {"email": "dora@acme.example", "role": "user"}).must(201)
    past = {"$set": {"expiresAt": datetime.now(UTC) - timedelta(minutes=1)}}
    assert scene.invites.update_one({"_id": invite["id"]}, past).modified_count == 1


def break_webhooks(scene: Scene) -> None:
    """One fails until its circuit opens, and heals; another one's receiver is gone."""
    admin = scene.admin
    scene.more["broken"].answer_next(*[500] * OPENS_AFTER)
    admin.subscribe(scene.more["broken"].url, "task.assigned", retries=5)
    me = admin.get("/auth/me").must(200)["id"]
    for number in range(OPENS_AFTER):
        admin.post("/tasks", {"title": f"number {number}", "assigneeId": me}).must(201)
    scene.more["gone"].answer_next(410)
    admin.subscribe(scene.more["gone"].url, "project.archived")
    project = admin.post("/projects", {"name": "Garten"}).must(201)
    path = f"/projects/{project['id']}"
    admin.call("PATCH", path, body={"description": "„ä“ \u2028 \U0001f600"}).must(200)
    assert admin.call("DELETE", path).status in (200, 204)


def make_reports(scene: Scene) -> None:
    """One is ready; the other one's job is cancelled before anybody took it."""
    command = {"kind": "task_list", "format": "csv"}
    ready = scene.admin.post("/reports", command).must(202)
    path = f"/reports/{ready['id']}"
    scene.appliance.wait_for(lambda: scene.admin.get(path).json()["status"] == "ready", seconds=30)
    scene.must("queue", "pause", "report")
    lost = scene.admin.post("/reports", command).must(202)
    scene.must("job", "cancel", lost["jobId"])
    scene.must("queue", "resume", "report")


def run_workflows(scene: Scene) -> None:
    scene.more["unwilling"].answer_next(404)
    for step in (
        {"type": "log", "input": {"message": "hello"}},
        {"type": "call_webhook", "input": {"url": scene.more["unwilling"].url}},
    ):
        command = {"name": "a workflow", "trigger": {"type": "manual"}, "actions": [step]}
        workflow = scene.admin.post("/workflows", command).must(201)
        scene.admin.post(f"/workflows/{workflow['id']}/run", {}).must(202)


def work(scene: Scene) -> None:
    admin = scene.admin
    admin.call("PATCH", "/company", body={"name": "Acme „2“"}).must(200)
    task = {"title": "Ä – “x” \u2028", "labels": ["a"], "dueAt": "2027-01-01T00:00:00Z"}
    path = f"/tasks/{admin.post('/tasks', task).must(201)['id']}"
    admin.call("PATCH", path, body={"status": "done", "dueAt": None}).must(200)
    admin.post(f"{path}/comments", {"body": "done @ada@acme.example"}).must(201)
    admin.call("DELETE", path).must(204)


def live_as_bob(scene: Scene) -> None:
    """All that happens to an account, from its invite to a stolen token."""
    admin, email = scene.admin, "bob@acme.example"
    for whose in ("carl@acme.example", email):
        invite = admin.post("/invites", {"email": whose, "role": "user"}).must(201)
        path = f"/invites/{invite['id']}"
        if whose != email:
            assert admin.call("DELETE", path).status < 300
    link = str(admin.post(f"{path}/resend", None).must(200)["link"])
    token = link.rpartition("/")[2].rpartition("=")[2]
    accept = {"name": "Bob", "password": PASSWORD}
    bob = Client(scene.appliance).post(f"/invites/{token}/accept", accept).must(201)
    path = f"/users/{bob['id']}"
    admin.call("PATCH", path, body={"role": "manager", "name": "Bob B."}).must(200)
    for word in ("disable", "enable"):
        assert admin.post(f"{path}/{word}", None).status < 300
    himself = scene.sign_in(email)
    fresh = "an entirely other passphrase"
    change = {"currentPassword": PASSWORD, "newPassword": fresh}
    himself.post("/auth/password/change", change).must(204)
    steal_a_token(scene, email, fresh)
    use_a_recovery_code(scene, scene.sign_in(email, fresh), email, fresh)


def steal_a_token(scene: Scene, email: str, password: str) -> None:
    owner = Browser(scene.appliance)
    assert owner.post("/auth/login", {"email": email, "password": password}) == 200
    thief = Browser(scene.appliance, dict(owner.cookies))
    assert owner.post("/auth/refresh") == 200
    time.sleep(REUSED_AFTER_SECONDS)
    assert thief.post("/auth/refresh") == 401


def use_a_recovery_code(scene: Scene, bob: Client, email: str, password: str) -> None:
    told = bob.post("/auth/mfa/setup", {"password": password}).must(200)
    code = pyotp.TOTP(told["secret"]).now()
    bob.post("/auth/mfa/verify", {"code": code}).must(200)
    login = {"email": email, "password": password}
    challenge = Client(scene.appliance).post("/auth/login", login).must(401)
    first, second, *_ = told["recoveryCodes"]
    proof = {"challengeToken": challenge["challengeToken"], "code": first}
    signed_in = Client(scene.appliance).post("/auth/login/mfa", proof).must(200)
    again = Client(scene.appliance, token=signed_in["accessToken"])
    disabled = again.post("/auth/mfa/disable", {"password": password, "code": second})
    assert disabled.status < 300, disabled.body


def test_no_type_is_left_out(scene: Scene, received: list[Received]) -> None:
    names = [one["name"] for one in published(scene)]
    assert len(names) >= 33
    assert {one.event["event"] for one in received} == set(names)
    note(f"{len(received)} bodies of {len(names)} types")


def test_every_body_fits_its_published_schema(scene: Scene, received: list[Received]) -> None:
    schemas = {one["name"]: one["schema"] for one in published(scene)}
    found = [
        (one.event["event"], wrong)
        for one in received
        for wrong in violations(one.event, schemas[one.event["event"]])
    ]
    assert found == []
    for one in received:
        compact = json.dumps(one.event, ensure_ascii=False, separators=(",", ":"))
        assert compact.encode() == one.body
        assert one.headers["x-novapulse-event"] == one.event["event"]
        assert one.headers["webhook-id"] == one.event["id"]
