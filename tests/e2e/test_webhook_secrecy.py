"""After a run with everything that webhooks do: no secret, URL or payload in Redis or in a log."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from novapulse.stores.find import find_store
from tests.support.appliance import OPEN_CONFIG, Appliance, Client, appliance_in_temporary_root
from tests.support.receiver import Received, WebhookReceiver

PASSWORD = "only-for-this-test"
URL_SECRET = "url-s3cret-4711"
HEADER_SECRET = "header-s3cret-4711"
PAYLOAD = "payload-s3cret-4711"


@dataclass
class MonitoredRedis:
    """A redis-server that tells of every command it is given."""

    path: Path
    heard: bytearray = field(default_factory=bytearray)

    @property
    def url(self) -> str:
        return f"unix://default:{PASSWORD}@{self.path}"

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(str(self.path))
        connection.sendall(f"AUTH {PASSWORD}\r\nMONITOR\r\n".encode())
        return connection

    def listen(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        while data := connection.recv(65_536):
            self.heard += data


@contextmanager
def monitored_redis(directory: Path) -> Iterator[MonitoredRedis]:
    redis = MonitoredRedis(directory / "monitored.sock")
    given = {"unixsocket": str(redis.path), "port": "0", "save": "", "requirepass": PASSWORD}
    options = [word for name, value in given.items() for word in (f"--{name}", value)]
    child = subprocess.Popen(
        [find_store("redis-server"), *options], cwd=directory, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 10
        while not redis.path.exists():
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.01)
        with redis.connect() as connection:
            listening = threading.Thread(target=redis.listen, args=(connection,))
            listening.start()
            try:
                yield redis
            finally:
                child.terminate()
                listening.join(10)
    finally:
        child.kill()
        child.wait(10)


@pytest.fixture
def appliance() -> Iterator[tuple[Appliance, MonitoredRedis]]:
    root = appliance_in_temporary_root("[logging]\n")
    with root as one, monitored_redis(one.root.parent) as redis:
        told = f'[redis]\nurl = "{redis.url}"\n\n[logging]\nlevel = "debug"\n'
        (one.root / "config.toml").write_text(f"{OPEN_CONFIG}\n{told}")
        one.start()
        yield one, redis
        one.close()


def use_everything(appliance: Appliance, admin: Client, receiver: WebhookReceiver) -> list[str]:
    """All that webhooks do, with failures among it; the signing secrets that there were."""
    command = {
        "url": f"{receiver.url}/{URL_SECRET}?key={URL_SECRET}",
        "events": ["task.*"],
        "headers": {"Authorization": f"Bearer {HEADER_SECRET}"},
        "retries": 1,
    }
    webhook = admin.post("/webhooks", command).must(201)
    secrets = [webhook["secret"]]
    path = f"/webhooks/{webhook['id']}"
    secrets.append(admin.post(f"{path}/rotate-secret", {}).must(200)["secret"])
    admin.post(f"{path}/test", None).must(200)
    receiver.answer_next(200, 410)  # the second one to `gone` below
    admin.create_task(f"{PAYLOAD} one")
    receiver.wait_for(lambda got: len(got) >= 2, seconds=10)
    gone = admin.post("/webhooks", {**command, "events": ["project.updated"]}).must(201)
    secrets.append(gone["secret"])
    project = admin.post("/projects", {"name": PAYLOAD}).must(201)
    admin.call("PATCH", f"/projects/{project['id']}", body={"name": f"{PAYLOAD} more"}).must(200)
    receiver.wait_for(lambda got: len(got) >= 3, seconds=10)
    closed = {**command, "url": f"http://127.0.0.1:9/{URL_SECRET}"}
    secrets.append(admin.post("/webhooks", closed).must(201)["secret"])
    admin.create_task(f"{PAYLOAD} two")
    receiver.wait_for(lambda got: len(got) >= 4, seconds=10)
    deliveries = admin.get(f"{path}/deliveries?event=task.created").must(200)["data"]
    admin.post(f"/webhooks/deliveries/{deliveries[-1]['id']}/replay", None).must(202)
    receiver.wait_for(lambda got: len(got) >= 5, seconds=10)
    secrets.append(recover_what_failed(appliance, admin, receiver, command))
    admin.post(f"{path}/pause", None).must(200)
    admin.call("PATCH", path, body={"headers": {"X-More": HEADER_SECRET}}).must(200)
    admin.call("DELETE", path).must(204)
    appliance.cli("webhook", "list", "--json")
    return secrets


def recover_what_failed(
    appliance: Appliance, admin: Client, receiver: WebhookReceiver, command: dict[str, Any]
) -> str:
    """A webhook whose only delivery fails for good and comes again, by the API and by the verb."""
    own = {**command, "events": ["project.created"], "retries": 0}
    webhook = admin.post("/webhooks", own).must(201)
    path = f"/webhooks/{webhook['id']}"

    def fails(times: int) -> bool:
        found = admin.get(f"{path}/deliveries?state=exhausted").must(200)["data"]
        return len(found) == times

    since = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    receiver.answer_next(400, 400)
    admin.post("/projects", {"name": PAYLOAD}).must(201)
    appliance.wait_for(lambda: fails(1), seconds=10)
    admin.post(f"{path}/recover", {"since": since}).must(202)
    appliance.wait_for(lambda: fails(2), seconds=10)
    done = appliance.cli("webhook", "recover", webhook["id"], "--since", since.rstrip("Z"))
    assert done.returncode == 0, done.stderr
    receiver.wait_for(lambda got: len(recovered(got)) == 3, seconds=10)
    return str(webhook["secret"])


def recovered(requests: list[Received]) -> list[Received]:
    return [one for one in requests if one.headers["x-novapulse-event"] == "project.created"]


def everything_written(root: Path) -> Iterator[tuple[str, bytes]]:
    """The log files, and what the program wrote to its terminal."""
    for file in [*sorted((root / "log").rglob("*")), root.parent / "output", root.parent / "talk"]:
        if file.is_file():
            yield str(file.relative_to(root.parent)), file.read_bytes()


def test_no_secret_url_or_payload_is_in_redis_or_in_a_log(
    appliance: tuple[Appliance, MonitoredRedis], receiver: WebhookReceiver
):
    program, redis = appliance
    secrets = use_everything(program, program.found_company(), receiver)
    assert_sent_whole(receiver.requests)
    program.stop()
    hidden = [URL_SECRET, HEADER_SECRET, PAYLOAD, receiver.url]
    hidden += secrets + [secret.removeprefix("whsec_") for secret in secrets]
    places = [("redis", bytes(redis.heard)), *everything_written(program.root)]
    assert len(places) > 3
    assert b'"PUBLISH"' in redis.heard.upper() or len(redis.heard) > 1_000
    assert any(b"webhook.attempt" in content for _, content in places)
    found = [
        (name, word) for name, content in places for word in hidden if word.encode() in content
    ]
    assert found == []


def assert_sent_whole(requests: list[Received]) -> None:
    """It was all there, where it belongs."""
    assert any(PAYLOAD.encode() in one.body for one in requests)
    assert len({one.headers["x-novapulse-delivery"] for one in recovered(requests)}) == 3
    assert len({one.body for one in recovered(requests)}) == 1
    assert {one.headers["authorization"] for one in requests} == {f"Bearer {HEADER_SECRET}"}
    assert all(URL_SECRET in one.path for one in requests)
