"""`novapulse keys …` against the running program, killed half-way too."""

import json
import os
import signal
import subprocess
import time
from typing import Any

from tests.support.appliance import PASSWORD, PROGRAM, Client, SharedAppliance


def check(shared: SharedAppliance) -> dict[str, Any]:
    done = shared.appliance.cli("keys", "check", "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def keys_in_use(document: dict[str, Any]) -> set[str]:
    return {key for one in document["collections"] for key in one["byKey"]}


def test_everything_opens_and_is_shown_by_its_key(shared_appliance: SharedAppliance) -> None:
    document = check(shared_appliance)
    assert document["ok"] is True
    shown = shared_appliance.appliance.cli("keys", "check")
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[0].split() == [
        "collection",
        "values",
        "do",
        "not",
        "open",
        "by",
        "key",
    ]


def test_a_rotation_that_is_killed_is_gone_on_with(shared_appliance: SharedAppliance) -> None:
    cli, admin = shared_appliance.appliance.cli, shared_appliance.admin
    webhook = admin.subscribe("http://127.0.0.1:9/nobody", "company.updated")
    before = keys_in_use(check(shared_appliance))
    command = [PROGRAM, "keys", "rotate", "data", "--root", shared_appliance.appliance.root]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as rotation:
        assert rotation.stderr is not None
        assert b"the key that seals is" in rotation.stderr.readline()
        os.kill(rotation.pid, signal.SIGKILL)
    check(shared_appliance)
    time.sleep(2.1)  # the processes notice
    assert admin.get(f"/webhooks/{webhook['id']}").status == 200
    admin.subscribe("http://127.0.0.1:9/nobody", "company.updated")
    assert len(keys_in_use(check(shared_appliance))) == len(before) + 1
    done = cli("keys", "rotate", "data", "--keep-old", "--json")
    assert done.returncode == 0, done.stderr
    rotation_done = json.loads(done.stdout)["rotation"]
    assert rotation_done["renewed"] >= 1
    assert keys_in_use(check(shared_appliance)) == {rotation_done["current"]}
    assert shared_appliance.appliance.cli("audit", "verify").returncode == 0


def test_a_key_is_no_secret_that_is_printed(shared_appliance: SharedAppliance) -> None:
    done = shared_appliance.appliance.cli("keys", "rotate", "jwt", "--json")
    assert done.returncode == 0, done.stderr
    current = json.loads(done.stdout)["current"]
    file = shared_appliance.appliance.root / "state" / "secrets" / "token-keys.json"
    kept = json.loads(file.read_bytes())
    assert kept["current"] == current
    assert file.stat().st_mode & 0o777 == 0o600
    assert all(key not in done.stdout + done.stderr for key in kept["keys"].values())


def test_nobody_is_signed_out(shared_appliance: SharedAppliance) -> None:
    appliance, admin = shared_appliance.appliance, shared_appliance.admin
    email = admin.get("/auth/me").must(200)["email"]
    for _ in range(2):
        assert appliance.cli("keys", "rotate", "jwt").returncode == 0
        for _ in range(8):  # whichever process answers
            assert admin.get("/auth/me").status == 200
        body = {"email": email, "password": PASSWORD}
        token = Client(appliance).post("/auth/login", body).must(200)["accessToken"]
        for _ in range(8):
            assert Client(appliance, token=token).get("/auth/me").status == 200
