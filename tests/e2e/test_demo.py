"""`novapulse demo` on a root that does not exist yet: everything moves within a minute."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.appliance import PROGRAM, Appliance

pytestmark = pytest.mark.slow
SECONDS = 60.0
EVENTS = {"task.created", "task.updated", "task.commented", "workflow.executed", "report.ready"}


@contextmanager
def demonstration(root: Path, said: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The demo as a newcomer starts it; ended by a Ctrl-C, as they would."""
    command = [PROGRAM, "demo", "--root", root, "--listen", "127.0.0.1:0"]
    with said.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as child:
        try:
            yield child
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(30)


def test_a_newcomer_sees_everything_move(appliance: Appliance, tmp_path: Path):
    said = tmp_path / "said.txt"
    with demonstration(appliance.root, said) as child:
        deadline = time.monotonic() + SECONDS
        while not arrived(said) >= EVENTS:
            assert child.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.2)
        text = said.read_text()
        assert appliance.status()["state"] == "ready"
        assert "nova:webhook" in appliance.cli("status").stdout
        webhook = found(r"novapulse webhook deliveries (\w+)", text)
        deliveries = json.loads(appliance.cli("webhook", "deliveries", webhook, "--json").stdout)
        assert "delivered" in {one["state"] for one in deliveries["deliveries"]}
        assert "@demo.example" in appliance.cli("mail", "list").stdout
        assert "job.finished" in appliance.cli("logs", "-n", "200").stdout
    assert child.returncode == 0
    assert "Traceback" not in said.read_text()
    assert not appliance.live_pids(), "what the demo started is gone with it"


def test_a_configuration_that_forbids_the_receiver_is_named(appliance: Appliance):
    appliance.root.mkdir(parents=True, exist_ok=True)
    (appliance.root / "config.toml").write_text("")
    done = appliance.cli("demo", "--seconds", "1")
    assert done.returncode == 78
    assert "allow_networks" in done.stderr
    assert '"127.0.0.1/32"' in done.stderr


def arrived(said: Path) -> set[str]:
    """The types of what the demo's receiver got and found good."""
    return set(re.findall(r"^\d\d:\d\d:\d\d  good  (\S+)", said.read_text(), re.MULTILINE))


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]
