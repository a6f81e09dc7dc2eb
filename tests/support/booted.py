"""A whole Debian 12, booted in a container, that holds nothing but its base and systemd.

    python -m tests.support.booted

tries whether there can be one on this machine, and fetches what it is made of.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
_BASE = CHECKOUT / ".build" / "machine"
_SUITE = "bookworm"
_INCLUDED = "systemd,systemd-sysv,dbus"
_BOOT_SECONDS = 60.0
_NOT_TESTED = "NOT TESTED: THE PACKAGES IN A BOOTED DEBIAN"
# What the kernel, or a container around this machine, has to allow before our units are at fault.
_CONTAINED = (
    *("User=nobody", "PrivateUsers=yes", "PrivateTmp=yes", "PrivateDevices=yes"),
    *("ProtectSystem=strict", "ProtectProc=invisible", "ProtectKernelTunables=yes"),
    *("MemoryDenyWriteExecute=yes", "SystemCallFilter=@system-service", "LimitNOFILE=64000"),
)
_MAKE_SECONDS = 600.0


class Machine:
    """Commands in it are run as root; its loopback network is its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0

    def boot(self) -> None:
        """Wait until systemd says that the start is over; a failed unit fails the test."""
        command = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"]
        command += ["--private-network", "--console=pipe", "--directory", str(self.root)]
        # mongod locks the pages that hold keys, as any service may on a real machine.
        command += ["--system-call-filter=@memlock"]
        with (self.root.parent / "console").open("wb") as console:
            self._nspawn = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        deadline = time.monotonic() + _BOOT_SECONDS
        while not self._is_up():
            if time.monotonic() > deadline:
                raise OSError(f"not running within {_BOOT_SECONDS} s: {self._told()}")
            time.sleep(0.1)

    def require_containment(self) -> None:
        """A service may be contained as ours is: inside of some containers it may not."""
        options = " ".join(f"--property={one}" for one in _CONTAINED)
        done = self.run(f"systemd-run --quiet --wait {options} true", check=False)
        if done.returncode != 0:
            raise OSError(f"services can not be contained here: {done.stderr.strip()}")

    def _is_up(self) -> bool:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise OSError(f"systemd-nspawn ended with {self._nspawn.returncode}: {self._told()}")
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        if not (found := children.read_text().split()):
            return False
        self.leader = int(found[0])
        return self.run("systemctl is-system-running", check=False).stdout.strip() == "running"

    def _told(self) -> str:
        return (self.root.parent / "console").read_text(errors="replace")[-1000:]

    def run(
        self, command: str, *, check: bool = True, seconds: float = 90.0
    ) -> subprocess.CompletedProcess[str]:
        """A shell's command inside; the test fails when it does, unless `check` is off."""
        done = self._enter("--all", "sh", "-c", command, seconds=seconds)
        if check and done.returncode != 0:
            journal = "journalctl -u novapulse -o cat --no-pager | grep -v http.request | tail -30"
            log = self._enter("--all", "sh", "-c", journal, seconds=30.0).stdout
            pytest.fail(
                f"{command}: {done.returncode}\n{done.stdout}{done.stderr}\n{log}", pytrace=False
            )
        return done

    def beside(self, script: str, *, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """A bash script with this machine's programs on the other one's network."""
        return self._enter("--net", "bash", "-euo", "pipefail", "-c", script, seconds=seconds)

    def _enter(self, where: str, *command: str, seconds: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.entering(where), *command],
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": "/root"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def entering(self, where: str) -> list[str]:
        return ["nsenter", "--target", str(self.leader), where, "--"]

    def wait_for(self, condition: Callable[[], bool], *, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds} s")
            time.sleep(0.1)

    def show(self, fact: str, unit: str = "novapulse.service") -> str:
        """A property of a unit."""
        return self.run(f"systemctl show {unit} --property {fact} --value").stdout.strip()

    def processes_of(self, user: str) -> set[int]:
        """The pids inside, of all that run as `user`."""
        said = self.run(f"id -u {user}", check=False).stdout.strip()
        inside = "for p in /proc/[0-9]*; do stat -c '%u %n' $p 2>/dev/null; done; true"
        found = re.findall(rf"^{said} /proc/(\d+)$", self.run(inside).stdout, re.MULTILINE)
        return {int(pid) for pid in found} if said else set()

    def close(self) -> None:
        """Kill its first process, and with it all the others."""
        if self._nspawn is None:
            return
        if self.leader and self._nspawn.poll() is None:
            os.kill(self.leader, signal.SIGKILL)
        try:
            self._nspawn.wait(20)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait(20)


def _why_not() -> str:
    if os.geteuid() != 0:
        return "only root can boot a machine"
    missing = [
        tool for tool in ("debootstrap", "systemd-nspawn", "nsenter") if not shutil.which(tool)
    ]
    return f"not installed: {', '.join(missing)}" if missing else ""


def _make_base() -> None:
    """Fetch the base system; made once, as a copy is much faster."""
    partial = _BASE.with_name("machine.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(exist_ok=True)
    command = ["debootstrap", "--variant=minbase", f"--include={_INCLUDED}", _SUITE, str(partial)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_MAKE_SECONDS, check=False
    )
    if done.returncode != 0:
        raise OSError(f"debootstrap failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    partial.rename(_BASE)


def base_system() -> Path:
    """The directory of a Debian 12; raises OSError, with the reason, where none can be had."""
    if reason := _why_not():
        raise OSError(reason)
    if not _BASE.is_dir():
        _make_base()
    return _BASE


def _boot(machine: Machine) -> None:
    """Raises OSError, with the reason, where no machine can be had."""
    subprocess.run(["cp", "--archive", str(base_system()), str(machine.root)], check=True)
    machine.boot()
    machine.require_containment()


@contextmanager
def booted_machine(directory: Path) -> Iterator[Machine]:
    """A new machine; where none can be had, the test is skipped and says so."""
    machine = Machine(directory / "root")
    try:
        try:
            _boot(machine)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"{_NOT_TESTED}: {error}")
        yield machine
    finally:
        machine.close()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    try:
        with booted_machine(Path(mkdtemp(prefix="np-machine-", dir="/var/tmp"))):
            print("A Debian 12 boots here.", file=sys.stderr)
    except pytest.skip.Exception as skipped:
        sys.exit(f"\n{skipped}\n")
