"""Verbs and their exit codes, and what refuses to start."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from novapulse import __version__
from tests.support.appliance import Appliance, SharedAppliance, note

FRAMEWORKS = ("aiohttp", "argon2", "cryptography", "hypercorn", "huey", "pymongo", "redis")
FRAMEWORKS += ("rich", "starlette")


def test_version_prints_the_version_alone():
    done = subprocess.run(
        [sys.executable, "-m", "novapulse", "version"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("words", [["--help"], ["status", "--help"], ["run", "--help"]])
def test_help_imports_no_framework(words: list[str]):
    program = (
        "import sys, novapulse.cli\n"
        "try:\n"
        "    novapulse.cli.main(sys.argv[1:])\n"
        "finally:\n"
        "    print('IMPORTED', *sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    said, _, imported = done.stdout.partition("IMPORTED")
    assert done.returncode == 0, done.stderr
    assert said.startswith("Usage: novapulse")
    assert imported
    assert [name for name in FRAMEWORKS if name in imported.split()] == []


def test_a_configuration_can_be_checked_before_a_start(shared_appliance: SharedAppliance):
    done = shared_appliance.appliance.cli("config", "check")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "verb", [["status"], ["stop"], ["user", "create", "--super-admin", "root@operators.example"]]
)
def test_a_verb_for_a_running_appliance_exits_69_without_one(appliance: Appliance, verb: list[str]):
    done = appliance.cli(*verb)
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_status_in_json_has_its_error_on_stderr_without_an_appliance(appliance: Appliance):
    done = appliance.cli("status", "--json")
    assert done.returncode == 69
    assert done.stdout == "" or json.loads(done.stdout)["status"] == 503


def test_stop_waits_for_the_end_of_everything(appliance: Appliance):
    appliance.start()
    asked = time.monotonic()
    done = appliance.cli("stop")
    note(f"stopped in {time.monotonic() - asked:.1f} s")
    assert (done.returncode, done.stderr) == (0, "")
    assert appliance.wait() == 0
    assert appliance.live_pids() == set()


def test_a_second_run_names_the_first_and_leaves_it_alone(shared_appliance: SharedAppliance):
    first = shared_appliance.appliance
    before = first.status()["processes"]
    done = first.cli("run", "--listen", "127.0.0.1:0")
    assert done.returncode == 75
    assert str(first.pid) in done.stderr
    assert [(row["name"], row["pid"]) for row in first.status()["processes"]] == [
        (row["name"], row["pid"]) for row in before
    ]


def test_a_taken_port_is_named_and_nothing_is_started(appliance: Appliance):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = appliance.cli("run", "--listen", f"127.0.0.1:{port}")
    assert done.returncode == 69
    assert str(port) in done.stderr
    assert appliance.live_pids() == set()
    assert list((appliance.root / "log").iterdir()) == []


def test_a_misspelt_key_is_named_with_its_line_and_the_nearest_one(appliance: Appliance):
    config = appliance.root / "config.toml"
    config.write_text("[server]\n# a comment\nprocesess = 3\n")
    for verb in (["run"], ["config", "check"]):
        done = appliance.cli(*verb)
        assert done.returncode == 78, verb
        assert f"{config}:3" in done.stderr, verb
        assert "server.processes" in done.stderr, verb
        assert appliance.live_pids() == set()


def test_a_missing_library_is_named_with_its_package(appliance: Appliance, tmp_path: Path):
    mongod = tmp_path / "mongod"
    loader = (
        f"{mongod}: error while loading shared libraries: libcurl.so.4: "
        "cannot open shared object file: No such file or directory"
    )
    mongod.write_text(f"#!/bin/sh\necho '{loader}' >&2\nexit 127\n")
    mongod.chmod(0o755)
    with (appliance.root / "config.toml").open("a") as config:
        config.write(f'\n[stores]\nmongod = "{mongod}"\n')
    done = appliance.cli("run", "--listen", "127.0.0.1:0")
    assert done.returncode == 69
    assert "libcurl4" in done.stderr
    assert appliance.live_pids() == set()


def test_a_missing_store_is_named(appliance: Appliance, tmp_path: Path):
    with (appliance.root / "config.toml").open("a") as config:
        config.write(f'\n[stores]\nredis_server = "{tmp_path / "nothing"}"\n')
    done = appliance.cli("run", "--listen", "127.0.0.1:0")
    assert done.returncode == 69
    assert str(tmp_path / "nothing") in done.stderr
    assert appliance.live_pids() == set()
