"""Verbs and their exit codes, and what refuses to start."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from novapulse import __version__
from novapulse.cli.program import program
from novapulse.cli.verbs import VERBS
from tests.support.appliance import Appliance, SharedAppliance, note

# What asking for help may load of what is not the standard library's, and what it may not of that.
LIGHT = {"click", "novapulse"}
HEAVY = {"asyncio", "concurrent", "difflib", "email", "http", "logging", "multiprocessing", "ssl"}


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    """A Python program, or one of its modules."""
    command = [sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_version_prints_the_version_alone():
    done = run("-m", "novapulse", "version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    "words",
    [["--help"], *([verb, "--help"] for verb, (_, text) in VERBS.items() if text)],
    ids=" ".join,
)
def test_help_imports_no_framework(words: list[str]):
    """So it is there at once; for the list of verbs not even their modules are loaded."""
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import novapulse.cli\n"
        "try:\n"
        "    novapulse.cli.main(sys.argv[1:])\n"
        "finally:\n"
        "    print('IMPORTED', *sorted(set(sys.modules) - before))\n"
    )
    done = run("-c", program, *words)
    said, _, imported = done.stdout.partition("IMPORTED")
    assert done.returncode == 0, done.stderr
    assert said.startswith("Usage: novapulse")
    modules = imported.split()
    packages = {name.partition(".")[0] for name in modules}
    light = {"novapulse"} if words == ["--help"] else LIGHT
    assert packages - sys.stdlib_module_names - {"__mp_main__"} == light
    assert packages & HEAVY == set()
    loaded = {name for name in modules if name.startswith("novapulse.cli.")}
    if words == ["--help"]:
        assert loaded == {"novapulse.cli.start", "novapulse.cli.verbs"}


@pytest.mark.parametrize("columns", ["80", "200", "40"])
def test_the_list_of_verbs_is_what_click_would_print(columns: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", columns)
    done = run("-m", "novapulse", "--help")
    clicks = CliRunner().invoke(program, ["--help"], prog_name="novapulse").output
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == clicks.split()
    # Click's runner takes every terminal for 80 columns wide; a narrow one has its lines broken.
    assert (done.stdout == clicks) is (columns != "40")


def test_the_list_of_verbs_has_every_verb_that_is_not_hidden():
    done = subprocess.run(
        [sys.executable, "-m", "novapulse", "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    listed = done.stdout.partition("Commands:\n")[2].splitlines()
    context = click.Context(program)
    shown = [verb for verb in VERBS if not program.get_command(context, verb).hidden]
    assert [line.split()[0] for line in listed] == shown == sorted(shown)
    assert all(len(line) < 80 and line.endswith(".") for line in listed)


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
