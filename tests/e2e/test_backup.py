"""A backup under load, restored on a machine that has nothing: everything is there and opens."""

import json
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest
from pymongo import MongoClient

from novapulse.core import room
from novapulse.core.errors import StorageFull
from novapulse.core.settings import load
from novapulse.processes import backups, places
from novapulse.processes.restoring import Wanted, restore
from novapulse.stores.layout import MongoRole
from tests.support.appliance import (
    OPEN_CONFIG,
    PASSWORD,
    PROGRAM,
    Appliance,
    Client,
    SharedAppliance,
    appliance_in_temporary_root,
    note,
)

pytestmark = pytest.mark.slow
RATE = 100.0
PASSPHRASE = "correct horse battery"


class SteadyLoad:
    """Tasks made at a steady rate; `acknowledged` are the answered 201s, with their times."""

    def __init__(self, client: Client, *, threads: int = 8) -> None:
        self._client = client
        self._pause = threads / RATE
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._write) for _ in range(threads)]
        self.acknowledged: dict[str, float] = {}

    def __enter__(self) -> "SteadyLoad":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        due = time.monotonic()
        while not self._is_over.is_set():
            task = self._client.create_task(uuid.uuid4().hex)
            self.acknowledged[task["id"]] = time.monotonic()
            due += self._pause
            time.sleep(max(0.0, due - time.monotonic()))

    def wait_for(self, number: int) -> None:
        enough, deadline = len(self.acknowledged) + number, time.monotonic() + 20
        while len(self.acknowledged) < enough:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def other_machine() -> Iterator[Appliance]:
    """A root that does not exist yet."""
    with appliance_in_temporary_root() as one:
        yield one


def configure(appliance: Appliance) -> Path:
    passphrase = appliance.root / "passphrase"
    passphrase.write_text(PASSPHRASE + "\n")
    passphrase.chmod(0o600)
    config = f'{OPEN_CONFIG}\n[backup]\npassphrase_file = "{passphrase}"\n'
    (appliance.root / "config.toml").write_text(config)
    return passphrase


def must(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    assert done.returncode == code, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout) if "--json" in done.args and code == 0 else None


def all_tasks(client: Client) -> set[str]:
    found: set[str] = set()
    cursor = ""
    while True:
        page = client.get(f"/tasks?limit=200{cursor}").must(200)
        found |= {task["id"] for task in page["data"]}
        if not page["page"].get("nextCursor"):
            return found
        cursor = f"&cursor={page['page']['nextCursor']}"


def set_up_mfa(admin: Client) -> pyotp.TOTP:
    secret = admin.post("/auth/mfa/setup", {"password": PASSWORD}).must(200)["secret"]
    app = pyotp.TOTP(secret)
    admin.post("/auth/mfa/verify", {"code": app.now()}).must(200)
    return app


def sign_in(appliance: Appliance, app: pyotp.TOTP) -> Client:
    guest = Client(appliance)
    login = {"email": "ada@acme.example", "password": PASSWORD}
    challenge = guest.post("/auth/login", login).must(401)["challengeToken"]
    # Of the next half minute: the present code may be the one that was used up.
    code = app.at(time.time() + 30)
    answer = guest.post("/auth/login/mfa", {"challengeToken": challenge, "code": code}).must(200)
    return Client(appliance, token=answer["accessToken"])


@pytest.mark.timeout(150)
def test_what_was_acknowledged_before_the_start_is_there_on_the_other_machine(
    appliance: Appliance, other_machine: Appliance
):
    passphrase = configure(appliance)
    appliance.start()
    admin = appliance.found_company()
    app = set_up_mfa(admin)
    with SteadyLoad(admin) as load:
        load.wait_for(100)
        before, began = dict(load.acknowledged), time.monotonic()
        made = must(appliance.cli("backup", "create", "--json"))["made"]
        rate = (len(load.acknowledged) - len(before)) / (time.monotonic() - began)
        note(f"{rate:.0f} of {RATE:.0f} requests a second acknowledged beside the backup")
        load.wait_for(50)
    assert set(load.acknowledged) > set(before)
    drill = must(appliance.cli("backup", "drill", "--json"))
    assert drill["ok"]
    assert drill["drill"]["sealedValues"] > 0
    (row,) = must(appliance.cli("backup", "list", "--json"))["backups"]
    assert row["label"]["drilledAt"]
    appliance.stop()

    command = ("backup", "restore", made["path"], "--passphrase-file", str(passphrase), "--json")
    must(other_machine.cli(*command), 2)  # nobody could be asked
    assert not other_machine.root.exists()
    restored = must(other_machine.cli(*command, "--yes"))["restored"]
    assert restored["collections"] == made["collections"]

    other_machine.start()
    ada = sign_in(other_machine, app)
    tasks = all_tasks(ada)
    assert set(before) <= tasks <= set(load.acknowledged)
    assert len(tasks) == made["collections"]["tasks"]
    report = must(other_machine.cli("audit", "verify", "--json"))
    assert report["ok"]
    assert sum(chain["lines"] + chain["waiting"] for chain in report["chains"]) >= len(tasks)
    assert must(other_machine.cli("keys", "check", "--json"))["ok"]


@pytest.mark.timeout(150)
def test_a_machine_that_was_started_once_takes_the_backup_of_another_one(
    appliance: Appliance, other_machine: Appliance
):
    passphrase = configure(appliance)
    appliance.start()
    task = appliance.found_company().create_task("kept")
    made = must(appliance.cli("backup", "create", "--json"))["made"]
    appliance.stop()

    other_machine.start()
    other_machine.wait_for(lambda: rows_of(other_machine, "backups"), seconds=60)
    must(other_machine.cli("backup", "create", "--json"))  # as its timer does at night
    other_machine.stop()
    command = ("backup", "restore", made["path"], "--passphrase-file", str(passphrase), "--yes")
    restored = must(other_machine.cli(*command, "--json"))["restored"]
    assert restored["collections"] == made["collections"]

    other_machine.start()
    login = {"email": "ada@acme.example", "password": PASSWORD}
    token = Client(other_machine).post("/auth/login", login).must(200)["accessToken"]
    Client(other_machine, token=token).get(f"/tasks/{task['id']}").must(200)
    assert must(other_machine.cli("audit", "verify", "--json"))["ok"]
    other_machine.stop()

    refused = other_machine.cli(*command)
    must(refused, 65)
    data = other_machine.root / "state" / "mongod"
    way_on = f"mv {data} {data}.before"
    assert way_on in refused.stderr
    subprocess.run(way_on.split(), check=True)
    must(other_machine.cli(*command))


def test_looking_into_a_backup_leaves_the_running_program_its_room(
    shared_appliance: SharedAppliance, monkeypatch: pytest.MonkeyPatch
):
    one = shared_appliance.appliance
    made = must(one.cli("backup", "create", "--without-passphrase", "--json"))["made"]["path"]
    wanted = Wanted(path=Path(made), passphrase=None, database="looking", without_keys=True)
    loaded = load(root=one.root, environ={})
    monkeypatch.setattr(backups, "_ROOM_EVERY_BYTES", 0)
    monkeypatch.setattr(room, "MIN_FREE_BYTES", 1 << 60)  # so much no disk has
    with pytest.raises(StorageFull):
        restore(lambda: loaded, wanted, agree=lambda _deed: True, progress=lambda *_: None)
    with MongoClient(places.mongo_uri(loaded, MongoRole.RESTORE)) as client:
        assert client["looking"].list_collection_names() == []


def rows_of(appliance: Appliance, collection: str) -> list[dict[str, Any]]:
    loaded = load(root=appliance.root, environ={})
    with MongoClient(places.mongo_uri(loaded, MongoRole.BACKUP)) as client:
        return list(client[loaded.settings.mongo.database][collection].find())


def kill_while(appliance: Appliance, *arguments: str, when: Any) -> None:
    """`kill -9` of a verb as soon as `when` says so."""
    with subprocess.Popen(
        [PROGRAM, *arguments, "--root", appliance.root],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 30
        while not when():
            assert process.poll() is None, "it was too quick"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)


@pytest.mark.timeout(150)
def test_a_restore_that_is_killed_is_no_installation_until_it_is_repeated(
    appliance: Appliance, other_machine: Appliance
):
    configure(appliance)
    appliance.start()
    admin = appliance.found_company()
    task = admin.create_task("kept")
    made = must(appliance.cli("backup", "create", "--json"))["made"]["path"]
    appliance.stop()
    log = other_machine.root / "log" / "mongod.log"

    def is_filling() -> bool:
        return log.exists() and '"novapulse.tasks"' in log.read_text(errors="replace")

    command = ("backup", "restore", made, "--without-passphrase", "--without-keys", "--yes")
    kill_while(other_machine, *command, when=is_filling)
    other_machine.launch()
    assert other_machine.wait() == 78
    assert "was interrupted" in (other_machine.root / "log" / "migrate.log").read_text()
    must(other_machine.cli(*command))
    other_machine.start()
    login = {"email": "ada@acme.example", "password": PASSWORD}
    token = Client(other_machine).post("/auth/login", login).must(200)["accessToken"]
    Client(other_machine, token=token).get(f"/tasks/{task['id']}").must(200)
