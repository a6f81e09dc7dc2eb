"""An appliance of small programs under a real supervisor, in a directory of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from supervisor.control import ControlClient, ControlError
from supervisor.procfs import all_pids, carries, find_stat

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "integration" / "supervisor" / "programs"
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "PATH": os.environ["PATH"]}


class Appliance:
    """One directory with, at a time, one supervisor on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.control = ControlClient(directory / "control.sock")
        self.processes: list[dict[str, object]] = []
        self.options: dict[str, object] = {"listeners": []}
        self.main: subprocess.Popen[bytes] | None = None
        self.started: list[subprocess.Popen[bytes]] = []

    def add(self, name: str, *argv: str, ready: str = "message", **fields: object) -> None:
        """A process that runs `child.py ARGV`; `ready` names its kind of readiness."""
        command = (sys.executable, str(PROGRAMS / "child.py"), *argv)
        readiness: dict[str, object] = {"kind": ready, **fields.pop("readiness", {})}
        given = {"name": name, "role": name, "argv": command, "env": ENVIRONMENT, **fields}
        self.processes.append({**given, "readiness": readiness})

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def start(self, *, wait_for: str | None = "ready", **options: object) -> None:
        """Start the supervisor and wait until its state is `wait_for`."""
        self.main = self.launch(**options)
        if wait_for is not None:
            self.wait_until(lambda: self.state() == wait_for)

    def launch(self, **options: object) -> subprocess.Popen[bytes]:
        environment = {**ENVIRONMENT, **options.pop("environ", {})}
        main = subprocess.Popen(
            (sys.executable, str(PROGRAMS / "appliance.py"), str(self.directory)),
            env=environment,
            stdin=subprocess.PIPE,
            **{"stderr": subprocess.DEVNULL, **options},
        )
        self.started.append(main)
        assert main.stdin is not None
        with main.stdin:
            main.stdin.write(json.dumps({"processes": self.processes, **self.options}).encode())
        main.stdin = None  # communicate() would flush it
        return main

    def state(self) -> object:
        try:
            return self.control.status()["state"]
        except ControlError:
            return None

    def process(self, name: str) -> dict[str, object]:
        return next(one for one in self.control.status()["processes"] if one["name"] == name)

    def pid(self, name: str) -> int:
        pid = self.process(name)["pid"]
        assert isinstance(pid, int)
        return pid

    def wait_for(self, name: str, state: str) -> dict[str, object]:
        """Wait until the process `name` is in `state`, and show it."""
        self.wait_until(lambda: self.process(name)["state"] == state)
        return self.process(name)

    def wait_until(self, look: Callable[[], object], *, within_seconds: float = 20.0) -> None:
        deadline = time.monotonic() + within_seconds
        while not look():
            assert time.monotonic() < deadline, self.control.status()
            time.sleep(0.02)

    def stop(self) -> int:
        """An ordered stop by SIGTERM; the exit code."""
        assert self.main is not None
        self.main.send_signal(signal.SIGTERM)
        return self.main.wait(30)


def is_alive(pid: int) -> bool:
    stat = find_stat(pid)
    return stat is not None and stat.state not in "ZX"


def descendants_of(main: int) -> list[int]:
    """The living children of `main`, and theirs."""
    children: dict[int, list[int]] = {}
    for pid in all_pids():
        stat = find_stat(pid)
        if stat is not None and stat.state not in "ZX":
            children.setdefault(stat.parent, []).append(pid)
    found = list(children.get(main, ()))
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def run_of(pid: int) -> bytes:
    """The mark in the environment of every process of one supervisor's run."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(entry for entry in entries if entry.startswith(b"SUPERVISOR_RUN="))


def marked_with(mark: bytes) -> list[int]:
    return [pid for pid in all_pids() if is_alive(pid) and carries(pid, mark)]
