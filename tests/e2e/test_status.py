"""What an admin sees at three in the morning: status, checks, logs, doctor, support bundle."""

import json
import os
import signal
import socket
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.appliance import PROGRAM, Appliance, SharedAppliance

pytestmark = pytest.mark.slow
READ_VERBS = (
    ["status"],
    ["check", "live"],
    ["check", "ready"],
    ["check", "stores"],
    ["doctor"],
    ["config", "check"],
    ["config", "show"],
    ["config", "diff"],
    ["config", "explain", "server.listen"],
    ["logs", "-n", "5"],
    ["version"],
    ["queue", "list"],
    ["user", "list"],
    ["company", "list"],
    ["webhook", "list"],
    ["mail", "list"],
    ["mail", "suppressions", "list"],
    ["backup", "list"],
    ["migrate", "status"],
    ["keys", "check"],
    ["audit", "verify"],
    ["reload", "--dry-run"],
)


@pytest.mark.parametrize("words", READ_VERBS, ids=" ".join)
def test_every_reading_verb_has_one_document_for_scripts(
    shared_appliance: SharedAppliance, words: list[str]
):
    one = shared_appliance.appliance
    if words == ["version"]:
        done = subprocess.run(
            [PROGRAM, "version", "--json"], capture_output=True, text=True, timeout=30, check=True
        )
    else:
        done = one.cli(*words, "--json")
    assert json.loads(done.stdout)["schema"] == 1
    assert done.returncode == 0, done.stdout
    assert "\x1b" not in done.stdout


def test_a_well_appliance_says_so_in_its_first_line(shared_appliance: SharedAppliance):
    one = shared_appliance.appliance
    done = one.cli("status")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    # Other tests on this appliance may have left dead jobs: it goes on to name them and what to do.
    assert lines[0].rstrip(".").split(";")[0] == f"NovaPulse is ready at {one.url}"
    table = [line.split() for line in lines[lines.index("") + 1 :]]
    assert table[0] == [*("PROCESS", "STATE", "PID", "RESTARTS", "UPTIME", "MEMORY", "WHY")]
    named = {row[0] for row in table[1:] if row}
    assert named >= {"redis", "mongod", "api-1", "webhook-1", "report-1"}


def test_a_broken_store_is_the_first_line_and_what_to_do_the_second(appliance: Appliance):
    appliance.start()
    pid = appliance.process("redis")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        appliance.wait_for(lambda: appliance.status()["state"] == "degraded", seconds=20)
        done = appliance.cli("status")
        assert done.returncode == 1
        first, second = done.stdout.splitlines()[:2]
        assert first.startswith("Redis ")
        assert second.startswith("Next: novapulse ")
        assert appliance.cli("check", "stores").returncode == 1
        assert appliance.cli("check", "live").returncode == 0
        ready = appliance.cli("check", "ready")
        assert ready.returncode == 1
        assert ready.stdout.strip()
        doctor = appliance.cli("doctor")
        assert doctor.returncode == 1
        assert "BAD   Redis: does not answer" in doctor.stdout
        assert "      fix: " in doctor.stdout
    finally:
        os.kill(pid, signal.SIGCONT)
    appliance.wait_for(lambda: appliance.status()["state"] == "ready", seconds=20)


def test_status_is_never_a_traceback_while_it_starts(appliance: Appliance):
    appliance.launch()
    seen = set()
    deadline = time.monotonic() + 30
    while "ready" not in seen:
        assert time.monotonic() < deadline, seen
        done = appliance.cli("status", "--json")
        document: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode in (0, 1, 69), document
        seen.add(str(document.get("state", document.get("code"))))
    assert seen <= {"not_running", "starting", "ready", "degraded"}


def test_watching_goes_on_until_it_is_interrupted(shared_appliance: SharedAppliance):
    root = shared_appliance.appliance.root
    watching = subprocess.Popen(
        [PROGRAM, "status", "--watch", "--root", root],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    try:
        time.sleep(5)
        watching.send_signal(signal.SIGINT)
        said, complained = watching.communicate(timeout=20)
    finally:
        watching.kill()
    assert watching.returncode == 0
    assert complained == b""
    assert said.count(b"NovaPulse is ready at") >= 2
    assert b"\x1b" not in said


def test_one_id_finds_every_line_of_its_story(shared_appliance: SharedAppliance):
    one, admin = shared_appliance.appliance, shared_appliance.admin
    answer = admin.call(
        "POST", "/tasks", body={"title": "x"}, headers={"X-Request-Id": "story-of-one"}
    )
    assert answer.status == 201
    done = one.cli("logs", "--request", "story-of-one")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines
    assert all("story-of-one" in line for line in lines)
    assert lines[0].startswith("api-")
    assert one.cli("logs", "nobody").returncode == 66


def test_following_shows_new_lines_and_ends_cleanly_on_ctrl_c(
    shared_appliance: SharedAppliance,
):
    one, admin = shared_appliance.appliance, shared_appliance.admin
    following = subprocess.Popen(
        [PROGRAM, "logs", "api", "-f", "--request", "to-be-followed", "--root", one.root],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    try:
        time.sleep(2)
        admin.call("GET", "/tasks", headers={"X-Request-Id": "to-be-followed"})
        time.sleep(1.5)
        following.send_signal(signal.SIGINT)
        said, complained = following.communicate(timeout=20)
    finally:
        following.kill()
    assert b"to-be-followed" in said
    assert complained.strip() == b""
    assert following.returncode == 130


def test_a_bundle_of_a_running_appliance_holds_none_of_its_secrets(
    shared_appliance: SharedAppliance, tmp_path: Path
):
    one = shared_appliance.appliance
    path = tmp_path / "bundle.tar.gz"
    done = one.cli("support", "bundle", "--output", str(path))
    assert (done.returncode, done.stdout.strip()) == (0, str(path))
    with tarfile.open(path) as archive:
        texts = {m.name: archive.extractfile(m).read().decode() for m in archive if m.isfile()}
    names = {name.partition("/")[2] for name in texts}
    assert {"versions.json", "config.txt", "status.json", "doctor.json"} <= names
    assert "logs/supervisor.log" in names
    for file in (one.root / "state" / "secrets").iterdir():
        for secret in file.read_text(errors="replace").split('"'):
            words = [word for word in secret.split() if len(word) >= 20]
            for word in words:
                assert [name for name, text in texts.items() if word in text] == [], file.name


def test_the_doctor_of_a_well_appliance_finds_nothing_bad(shared_appliance: SharedAppliance):
    done = shared_appliance.appliance.cli("doctor", "--all")
    assert done.returncode == 0, done.stdout
    for name in ("replica set", "Redis policy", "libraries of mongod", "write concern", "port"):
        assert f"ok    {name}" in done.stdout
    assert "-     mail server: not configured" in done.stdout


def test_the_doctor_names_cause_and_fix_of_what_is_wrong_before_a_start(
    appliance: Appliance, tmp_path: Path
):
    state = appliance.root / "state"
    (state / "secrets").mkdir(parents=True, mode=0o700)
    (state / "secrets" / "redis.password").write_text("x")
    (state / "secrets" / "redis.password").chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (appliance.root / "config.toml").write_text(
            f'[server]\nlisten = "127.0.0.1:{port}"\n[stores]\nmongod = "{tmp_path}/nothing"\n'
        )
        done = appliance.cli("doctor", "--json")
    assert done.returncode == 1
    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    assert str(port) in found["port"]["found"]
    assert "ss -ltnp" in found["port"]["fix"]
    assert "chmod 600" in found["secret"]["fix"]
    assert f"{tmp_path}/nothing" in found["mongod"]["found"]
    assert found["processes"]["verdict"] == found["stores"]["verdict"] == "skipped"
