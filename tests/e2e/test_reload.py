"""Reloads: what each class of keys does, and that a bad file does nothing at all."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.appliance import (
    OPEN_CONFIG,
    Appliance,
    Client,
    appliance_in_temporary_root,
)
from tests.support.load import KeepAliveLoad
from tests.unit.core.settings.test_broken_files import FILES

pytestmark = pytest.mark.slow
BASE = """\
[server]
listen = "127.0.0.1:0"

[webhooks]
allow_networks = ["127.0.0.0/8"]

[rate_limits]
enabled = true
general = "100000/minute"
login = "1000/minute"
"""
STORES = {"redis", "mongod", "migrate"}
API = {"api-1", "api-2"}
# Begins anew before anything that is forked from it.
FORK_SERVER = {"fork-server"}
BACKGROUND = {"scheduler", "email-1", "webhook-1", "workflow-1", "report-1"}


class Scene:
    """A running appliance whose configuration a test changes as it likes."""

    def __init__(self, appliance: Appliance, admin: Client) -> None:
        self.appliance = appliance
        self.admin = admin
        self.config = appliance.root / "config.toml"

    def pids(self) -> dict[str, int | None]:
        rows = self.appliance.status()["processes"]
        return {row["name"]: row["pid"] for row in rows if row["part"] == "serving"}

    def put(self, text: str) -> None:
        self.config.write_text(text)

    def reload(self, text: str) -> dict[str, object]:
        """A reload to this configuration that works, and its answer."""
        self.put(text)
        done = self.appliance.cli("reload", "--json")
        assert done.returncode == 0, done.stdout
        answer: dict[str, object] = json.loads(done.stdout)
        assert answer["schema"] == 1
        return answer

    def changed_by(self, text: str) -> set[str]:
        """The processes that a reload to this configuration replaces, adds or drains."""
        before = self.pids()
        self.reload(text)
        after = self.pids()
        assert self.appliance.status()["state"] == "ready"
        return {name for name in {*before, *after} if before.get(name) != after.get(name)}

    def gauge(self, name: str) -> float:
        text = self.admin.get("/metrics").body.decode()
        found = re.search(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        assert found is not None, name
        return float(found[1])


@pytest.fixture(scope="module")
def running() -> Iterator[Scene]:
    with appliance_in_temporary_root(BASE) as one:
        one.chooses_port = False
        one.start()
        yield Scene(one, one.found_company())


@pytest.fixture
def scene(running: Scene) -> Iterator[Scene]:
    """The shared one; back at its own configuration afterwards."""
    yield running
    running.put(BASE)
    done = running.appliance.cli("reload", "-q")
    assert done.returncode == 0, done.stderr


def test_a_reload_without_a_change_does_nothing(scene: Scene):
    before = scene.pids()
    done = scene.appliance.cli("reload")
    assert (done.returncode, done.stdout) == (0, "Nothing has changed.\n")
    assert scene.pids() == before


def test_a_rate_limit_is_in_force_at_once_without_a_new_process(scene: Scene):
    before = scene.pids()
    answer = scene.reload(BASE.replace("100000/minute", "3/minute"))
    assert answer["changes"] == [
        {
            "key": "rate_limits.general",
            "reload": "live",
            "before": '"100000/minute"',
            "after": '"3/minute"',
            "origin": f"{scene.config}:9",
        }
    ]
    assert answer["done"] == ["in force: rate_limits.general"]
    statuses = [scene.admin.get("/tasks").status for _ in range(12)]
    assert statuses[-1] == 429
    assert scene.pids() == before


def test_the_log_level_is_in_force_at_once_in_every_process(scene: Scene):
    log = scene.appliance.root / "log" / "api-1.log"
    others = scene.appliance.root / "log" / "api-2.log"

    def lines_of_requests() -> int:
        for _ in range(20):
            scene.admin.get("/tasks")
        time.sleep(0.3)
        texts = (path.read_text() for path in (log, others) if path.exists())
        return sum(text.count('"event":"http.request"') for text in texts)

    before = scene.pids()
    first = lines_of_requests()
    assert lines_of_requests() > first
    scene.reload(BASE + '\n[logging]\nlevel = "warning"\n')
    quiet = lines_of_requests()
    assert lines_of_requests() == quiet
    scene.reload(BASE)
    assert lines_of_requests() > quiet
    assert scene.pids() == before


def test_numbers_of_processes_add_and_drain_slots(scene: Scene):
    more = BASE.replace(
        "[webhooks]", "processes = 3\n\n[queues.webhook]\nprocesses = 2\n\n[webhooks]"
    )
    assert scene.changed_by(more) == {"api-3", "webhook-2"}
    assert scene.changed_by(BASE) == {"api-3", "webhook-2"}
    fewer = BASE.replace("[webhooks]", "[queues.email]\nprocesses = 0\n\n[webhooks]")
    assert scene.changed_by(fewer) == {"email-1"}


def test_settings_of_the_api_roll_the_api(scene: Scene):
    assert scene.changed_by(BASE + '\n[registration]\nmode = "open"\n') == FORK_SERVER | API


def test_settings_of_queues_roll_what_works_on_them(scene: Scene):
    changed = scene.changed_by(BASE + "\n[queues.webhook]\nconcurrency = 7\n")
    assert changed == FORK_SERVER | BACKGROUND


def test_shared_settings_roll_both(scene: Scene):
    changed = scene.changed_by(BASE + "\n[mongo]\ntimeout_seconds = 2\n")
    assert changed == FORK_SERVER | API | BACKGROUND


def test_what_webhooks_may_reach_is_in_force_at_once(scene: Scene):
    before = scene.pids()
    answer = scene.reload(BASE.replace('"127.0.0.0/8"', ""))
    assert answer["done"] == ["in force: webhooks.allow_networks"]
    assert scene.pids() == before


def test_a_deadline_is_in_force_at_once(scene: Scene):
    """Of a delivery to a receiver that takes its connection and never says anything."""
    before = scene.pids()
    answer = scene.reload(BASE.replace("[webhooks]", "[webhooks]\ntimeout_seconds = 1"))
    assert answer["done"] == ["in force: webhooks.timeout_seconds"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        webhook = scene.admin.subscribe(url, "task.created", retries=0)
        scene.admin.create_task("told to nobody")
        connection, _ = silent.accept()
        taken = time.monotonic()
        with connection:
            connection.settimeout(20)
            while connection.recv(65_536):
                pass
        seconds = time.monotonic() - taken
    print(f"given up after {seconds:.2f} s")
    assert seconds < 5, "the deadline was 15 s before"
    assert scene.admin.call("DELETE", f"/webhooks/{webhook['id']}").status == 204
    assert scene.pids() == before


def test_another_password_in_the_same_file_rolls_who_reads_it(scene: Scene, tmp_path: Path):
    secret = tmp_path / "smtp.password"
    secret.write_text("old")
    secret.chmod(0o600)
    mail = '\n[mail]\nhost = "127.0.0.1"\nport = 9\nfrom = "nova@example.com"\n'
    mail += f'password_file = "{secret}"\n'
    assert scene.changed_by(BASE + mail) == FORK_SERVER | BACKGROUND
    assert scene.changed_by(BASE + mail) == set()
    secret.write_text("new")
    told = "mail.password_file: what is in it (rolls consumers)\n"
    done = scene.appliance.cli("config", "diff")
    assert (done.returncode, done.stdout) == (1, told)
    before = scene.pids()
    done = scene.appliance.cli("reload")
    assert done.stdout == f"{told}The configuration is in force.\n"
    after = scene.pids()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == FORK_SERVER | BACKGROUND
    assert scene.changed_by(BASE + mail) == set()


def test_another_address_is_bound_before_the_old_one_is_closed(scene: Scene):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    old, before = scene.appliance.url, scene.pids()
    moved = BASE.replace("127.0.0.1:0", f"127.0.0.1:{port}")
    scene.reload(moved)
    after = scene.pids()
    assert {name for name in before if before[name] != after[name]} == FORK_SERVER | API
    scene.appliance.url = f"http://127.0.0.1:{port}"
    assert scene.appliance.status()["url"] == scene.appliance.url
    assert scene.admin.get("/tasks").status == 200
    host, _, old_port = old.rpartition("/")[2].rpartition(":")
    with pytest.raises(ConnectionRefusedError), socket.create_connection((host, int(old_port))):
        pass
    scene.reload(BASE)
    scene.appliance.url = scene.appliance.status()["url"]
    assert scene.admin.get("/tasks").status == 200


def test_an_address_that_is_taken_is_refused_and_nothing_changes(scene: Scene):
    before = scene.pids()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        scene.put(BASE.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        done = scene.appliance.cli("reload")
    assert done.returncode == 69
    assert str(port) in done.stderr
    assert f"{scene.config}:2" in done.stderr
    assert scene.pids() == before
    assert scene.admin.get("/tasks").status == 200


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ('[mongo]\nuri = "mongodb://u:hidden-pw@db/"\n', "mongo.uri"),
        ('[redis]\nurl = "redis://:hidden-pw@cache:6379/0"\n', "redis.url"),
        ('[mongo]\ndatabase = "other"\n', "mongo.database"),
        ("[stores]\nmongod_cache_gb = 1\n", "stores.mongod_cache_gb"),
    ],
)
def test_what_needs_a_restart_is_refused_by_name(scene: Scene, change: str, key: str):
    before = scene.pids()
    scene.put(BASE + "\n" + change + '\n[registration]\nmode = "open"\n')
    done = scene.appliance.cli("reload")
    assert done.returncode == 78
    assert f"{key}: can not be changed while the program runs" in done.stderr
    assert f"{scene.config}:" in done.stderr
    assert "hidden-pw" not in done.stderr + done.stdout
    assert scene.pids() == before


@pytest.mark.timeout(240)  # a command for each of them
def test_thirty_broken_files_change_nothing(scene: Scene):
    before = scene.pids()
    cases = list(FILES.items())[:30]
    assert len(cases) == 30
    for name, broken in cases:
        scene.put(broken.text)
        done = scene.appliance.cli("reload", "--json")
        assert scene.pids() == before, name
        problem = json.loads(done.stdout)
        assert done.returncode == 78, name
        assert problem["status"] == 422
        blamed = {(one["where"], one["key"]) for one in problem["problems"]}
        assert (f"{scene.config}:{broken.line}", broken.key) in blamed, (name, blamed)
    assert scene.pids() == before
    assert scene.gauge("novapulse_config_last_reload_successful") == 0
    status = scene.appliance.status()
    assert status["lastReload"]["successful"] is False
    assert "old configuration" in status["headline"]
    scene.put(BASE)
    assert scene.appliance.cli("reload").returncode == 0
    assert scene.gauge("novapulse_config_last_reload_successful") == 1
    assert scene.pids() == before


def test_sighup_reloads_and_a_bad_file_is_only_logged(scene: Scene):
    before = scene.pids()
    log = scene.appliance.root / "log" / "supervisor.log"
    scene.put("[server]\nlisen = 'x'\n")
    scene.appliance.signal(signal.SIGHUP)
    scene.appliance.wait_for(lambda: "server.lisen is not a setting" in log.read_text(), seconds=10)
    assert scene.pids() == before
    scene.put(BASE + '\n[registration]\nmode = "open"\n')
    scene.appliance.signal(signal.SIGHUP)
    scene.appliance.wait_for(
        lambda: all(scene.pids().get(name) not in (None, before[name]) for name in API), seconds=30
    )


def test_config_diff_says_what_a_reload_would_do_and_does_nothing(scene: Scene):
    assert scene.appliance.cli("config", "diff").returncode == 0
    before = scene.pids()
    scene.put(BASE + '\n[registration]\nmode = "open"\n')
    done = scene.appliance.cli("config", "diff")
    assert done.returncode == 1
    assert done.stdout == 'registration.mode: "closed" → "open" (rolls api)\n'
    assert scene.pids() == before


def test_a_reload_under_load_loses_no_request(scene: Scene):
    headers, path = scene.admin.headers, "/api/v1/tasks?limit=20"
    with KeepAliveLoad(scene.appliance.address, path, headers=headers, connections=16) as load:
        load.wait_for_more(50)
        scene.reload(BASE + '\n[registration]\nmode = "open"\n')
        load.wait_for_more(50)
    print(load.summary())
    assert load.faults == []
    assert set(load.statuses) == {200}


def test_processes_that_do_not_take_the_new_configuration_leave_the_old_one_in_force(
    appliance: Appliance,
):
    """A start that is too short for any process: the first one that is rolled fails."""
    appliance.start()
    scene = Scene(appliance, appliance.found_company())
    before = scene.pids()
    secret = appliance.root / "state" / "secrets" / "token-keys.json"
    kept = secret.read_bytes()
    secret.write_bytes(b"{}")
    scene.put(OPEN_CONFIG + '\n[registration]\nmode = "open"\n')
    done = appliance.cli("reload", "--json")
    assert done.returncode == 1, done.stdout
    problem = json.loads(done.stdout)
    assert problem["detail"].startswith("api-1: ")
    assert problem["done"] == ["fork-server: replaced"]
    secret.write_bytes(kept)
    after = scene.pids()
    assert {name for name in before if before[name] != after[name]} == FORK_SERVER
    assert (
        json.loads((appliance.root / "run" / "settings.json").read_text())["settings"][
            "registration"
        ]["mode"]
        == "closed"
    )
    assert scene.gauge("novapulse_config_last_reload_successful") == 0
    assert appliance.cli("reload", "-q").returncode == 0
    assert scene.pids()["api-1"] != before["api-1"]


def test_a_process_with_a_configuration_error_is_tried_again_by_a_reload(appliance: Appliance):
    appliance.start()
    secret: Path = appliance.root / "state" / "secrets" / "token-keys.json"
    kept = secret.read_bytes()
    secret.write_bytes(b"{}")
    pid = appliance.process("api-1")["pid"]
    os.kill(pid, signal.SIGKILL)
    appliance.wait_for(lambda: appliance.process("api-1")["state"] == "config_error", seconds=20)
    status = appliance.status()
    assert status["headline"].startswith("api-1 does not accept its configuration")
    assert "novapulse reload" in status["next"]
    secret.write_bytes(kept)
    assert appliance.cli("reload").returncode == 0
    assert appliance.status()["state"] == "ready"
