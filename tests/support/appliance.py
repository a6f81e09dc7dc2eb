"""The real program in a temporary root: started, asked and stopped as a person would.

Everything goes through its command line, its API and its signals. A test may
kill what it likes: `close` leaves no process and no file behind.
"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from supervisor.procfs import all_pids, find_stat

# A built program, when there is one to be tested; else this checkout's.
PROGRAM = Path(os.environ.get("NOVAPULSE_PROGRAM") or Path(sys.executable).with_name("novapulse"))
# Patience with a machine that others keep busy; how fast it is to be is asserted elsewhere.
START_SECONDS = 90.0
STOP_SECONDS = 90.0
PASSWORD = "correct horse battery staple"
# What most tests want: receivers on this machine, and no waiting for limits.
OPEN_CONFIG = """\
[webhooks]
allow_networks = ["127.0.0.0/8"]

[rate_limits]
enabled = false
"""
# The shared one's administrator signs in once for all the tests on it.
_SHARED_CONFIG = f"{OPEN_CONFIG}\n[auth]\naccess_token_seconds = 86_400\n"
# Nothing of the developer's own configuration: no NOVAPULSE__…, no MONGO_URI.
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")
# The kernel ends the program with the tests, also when they are killed. In a start of its
# own, because code between fork and exec is not safe in a process with threads.
_DIES_WITH_US = """\
import os, sys
from supervisor.prctl import set_parent_death_signal
set_parent_death_signal()
if os.getppid() != int(sys.argv[1]):
    sys.exit("the tests are gone already")
os.execv(sys.argv[2], sys.argv[2:])
"""


def note(measured: str) -> None:
    """A figure for whoever runs the tests with `-s`, or reads a failure."""
    sys.stdout.write(f"\n{measured}\n")


@dataclass(frozen=True)
class Answer:
    """A whole HTTP response; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def must(self, status: int) -> Any:
        """The decoded body of an answer with this status; the test fails for any other."""
        if self.status != status:
            pytest.fail(f"expected {status}, got {self.status}: {self.body[:500]!r}")
        return self.json() if self.body else None


class Client:
    """Calls of one account, each on its own connection: threads may share a client."""

    def __init__(self, appliance: "Appliance", *, token: str = "") -> None:
        self._appliance = appliance
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def call(
        self, method: str, path: str, *, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request to `/api/v1` + `path`; raises OSError or HTTPException without an answer."""
        sent = {**self.headers, **(headers or {})}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection(self._appliance.address, timeout=15)
        try:
            connection.request(method, f"/api/v1{path}", content, sent)
            with connection.getresponse() as response:  # closed also when it is cut off
                got = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, got, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.call("GET", path)

    def post(self, path: str, body: Any, *, key: str = "") -> Answer:
        """With `key` as its Idempotency-Key, if there is one."""
        return self.call("POST", path, body=body, headers={"Idempotency-Key": key} if key else {})

    def subscribe(self, url: str, *events: str, retries: int = 3) -> dict[str, Any]:
        """A new webhook with its secret."""
        command = {"url": url, "events": events or ["*"], "retries": retries}
        webhook: dict[str, Any] = self.post("/webhooks", command).must(201)
        return webhook

    def create_task(self, title: str) -> dict[str, Any]:
        task: dict[str, Any] = self.post("/tasks", {"title": title}).must(201)
        return task


class Appliance:
    """One root with, at a time, one `novapulse run` on it."""

    def __init__(self, directory: Path, *, config: str = "") -> None:
        self.root = directory / "root"
        self.url = ""
        self.ready_line = ""
        # Else the configuration does: a flag would win over what a reload finds there.
        self.chooses_port = True
        self.main: subprocess.Popen[bytes] | None = None
        self._output = directory / "output"
        self._talk = directory / "talk"
        if config:
            self.root.mkdir()
            (self.root / "config.toml").write_text(config)

    @property
    def address(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def pid(self) -> int:
        assert self.main is not None, "not started"
        return self.main.pid

    @property
    def talk(self) -> str:
        """The end of what the program wrote to stderr."""
        return self._talk.read_text(errors="replace")[-3000:]

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One verb on this root, such as `cli("status", "--json")`."""
        return subprocess.run(
            [PROGRAM, *arguments, "--root", self.root],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STOP_SECONDS,
            check=False,
        )

    def launch(self, *arguments: str) -> None:
        """`novapulse run` on a port that the kernel gives, without waiting for anything."""
        assert self.main is None or self.main.poll() is not None, "runs already"
        if "--listen" not in arguments and self.chooses_port:
            arguments = ("--listen", "127.0.0.1:0", *arguments)
        shim = [sys.executable, "-c", _DIES_WITH_US, str(os.getpid())]
        with self._output.open("wb") as output, self._talk.open("ab") as talk:
            self.main = subprocess.Popen(
                [*shim, PROGRAM, "run", "--root", self.root, *arguments],
                env=_environment(),
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=talk,
                start_new_session=True,
            )

    def start(self, *arguments: str) -> None:
        """Launch it and wait for the line that says it is ready."""
        self.launch(*arguments)
        self.wait_for(lambda: " is ready " in self._output.read_text(), seconds=START_SECONDS)
        self.ready_line = self._output.read_text().strip()
        if "is ready at" in self.ready_line:  # without the API's role there is no address
            self.url = self.ready_line.partition("is ready at ")[2].split()[0]

    def wait_for(self, condition: Callable[[], bool], *, seconds: float) -> float:
        """How long it took; the test fails after `seconds` or when the program ends."""
        assert self.main is not None, "not started"
        asked = time.monotonic()
        while not condition():
            if self.main.poll() is not None:
                pytest.fail(f"it ended with {self.main.returncode}:\n{self.talk}")
            if time.monotonic() - asked > seconds:
                pytest.fail(f"not within {seconds} s:\n{self.talk}")
            time.sleep(0.02)
        return time.monotonic() - asked

    def status(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.cli("status", "--json").stdout)
        return report

    def process(self, name: str) -> dict[str, Any]:
        """One row of `status`."""
        return next(row for row in self.status()["processes"] if row["name"] == name)

    def live_pids(self) -> set[int]:
        """Every process that runs for this root, whoever its parent is by now."""
        mark = os.fsencode(self.root)
        return {pid for pid in all_pids() if pid != os.getpid() and _mentions(pid, mark)}

    def found_company(self, *, name: str = "Acme") -> Client:
        """A client of a new company's administrator."""
        token = self.cli("setup-token").stdout.strip()
        command = {
            "companyName": name,
            "name": "Ada",
            "email": f"ada@{name.lower()}.example",
            "password": PASSWORD,
            "setupToken": token,
        }
        signed_in = Client(self).post("/auth/register", command).must(201)
        return Client(self, token=signed_in["accessToken"])

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit code of its end."""
        assert self.main is not None, "not started"
        return self.main.wait(STOP_SECONDS)

    def stop(self) -> int:
        """An ordered stop by its signal; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """Kill whatever is left of it."""
        if self.main is not None:
            self.main.kill()
            self.main.wait(STOP_SECONDS)
        for _ in range(100):
            left = self.live_pids()
            if not left:
                break
            for pid in left:
                with _gone_is_fine():
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        pass


def _environment() -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    if path := os.environ.get("NOVAPULSE_PROGRAM_PATH"):
        passed_on["PATH"] = path
    return passed_on


def _mentions(pid: int, mark: bytes) -> bool:
    """Whether a living process has the path in its arguments, environment or directory."""
    stat = find_stat(pid)
    if stat is None or stat.state in "ZX":
        return False
    process = Path(f"/proc/{pid}")
    try:
        told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        return mark in told or os.fsencode((process / "cwd").readlink()).startswith(mark)
    except OSError:  # it ended just now, or is not ours
        return False


@contextmanager
def appliance_in_temporary_root(config: str = "") -> Iterator[Appliance]:
    """Not started yet; gone afterwards. The path is short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="np-e2e-", dir="/tmp"))
    one = Appliance(directory, config=config)
    try:
        yield one
    finally:
        one.close()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def appliance() -> Iterator[Appliance]:
    """One for this test alone, open to receivers on this machine; not started yet."""
    with appliance_in_temporary_root(OPEN_CONFIG) as one:
        yield one


@dataclass(frozen=True)
class SharedAppliance:
    """A running one with a company; tests on it leave it as well as they found it."""

    appliance: Appliance
    admin: Client


@pytest.fixture(scope="session")
def shared_appliance() -> Iterator[SharedAppliance]:
    with appliance_in_temporary_root(_SHARED_CONFIG) as one:
        one.start()
        yield SharedAppliance(one, one.found_company())
