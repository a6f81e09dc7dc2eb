"""The container file and the compose file without a container engine.

The file's own steps are done in a copy of the Debian base, and its services run from that in
systemd-nspawn: read-only, without capabilities, as the user, with the volumes that compose names.
The network is one namespace in which the services' names lead to its loopback.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.support.booted import base_system

_STOP_SECONDS = 30.0


class Image:
    """What `docker build` would make of the container file and `.build`."""

    def __init__(self, root: Path, containerfile: Path, context: Path) -> None:
        self.root = root
        self.environment: dict[str, str] = {}
        self.settings: dict[str, str] = {}
        self._context = context
        subprocess.run(["cp", "--archive", str(base_system()), str(root)], check=True)
        text = re.sub(r"^#.*\n", "", containerfile.read_text(), flags=re.MULTILINE)
        for line in text.replace("\\\n", " ").splitlines():
            word, _, rest = line.strip().partition(" ")
            if word:
                self._step(word, rest.strip())

    def _step(self, word: str, rest: str) -> None:
        if word == "RUN":
            command = ["chroot", str(self.root), "/bin/sh", "-c", rest]
            subprocess.run(command, check=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        elif word == "COPY":
            _, *sources, target = rest.split()  # --chown=root:root
            place = self.root / target.strip("/")
            if len(sources) > 1 or target.endswith("/"):
                place.mkdir(parents=True, exist_ok=True)
            for source in sources:
                subprocess.run(["cp", "-r", str(self._context / source), str(place)], check=True)
            subprocess.run(["chown", "-R", "root:root", str(place)], check=True)
        elif word == "ENV":
            self.environment |= dict(one.split("=", 1) for one in shlex.split(rest))
        else:
            self.settings[word] = rest


class Service:
    """One of the compose file's own services, as its engine would start it."""

    def __init__(self, image: Image, told: dict[str, Any], *, place: Path, network: int) -> None:
        self._told = told
        self._image = image
        self._log = place / "log"
        place.mkdir()
        state = place / "state"
        # A volume that is new has what the image has in its place, with its owner.
        shutil.copytree(image.root / "var/lib/novapulse", state)
        subprocess.run(["chown", "-R", image.settings["USER"], str(state)], check=True)
        self.command = [
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe"),
            *("--directory", str(image.root), f"--network-namespace-path=/proc/{network}/ns/net"),
            *("--user=novapulse", "--no-new-privileges=yes", "--read-only"),
            f"--drop-capability={','.join(told['cap_drop']).lower()}",
            f"--bind={state}:/var/lib/novapulse",
            *(f"--tmpfs={one}" for one in told["tmpfs"]),
        ]
        given = {**image.environment, **told["environment"]}
        self.command += [f"--setenv={name}={value}" for name, value in given.items()]

    def start(self, *binds: str) -> None:
        entry = [word.strip('" ') for word in self._image.settings["ENTRYPOINT"][1:-1].split(",")]
        binds = tuple(f"--bind={one}" for one in binds)
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                [*self.command, *binds, f"/opt/novapulse/{entry[0]}", *self._told["command"]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self._nspawn.poll() is None

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    @property
    def main(self) -> int:
        """The program, which is the first process in there; 0 when it does not run."""
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        found = children.read_text().split() if self.is_running else []
        return int(found[0]) if found else 0

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As `docker exec` does."""
        uid, gid = self._image.settings["USER"].split(":")
        entering = ["nsenter", "--target", str(self.main), "--all", "--setuid", uid]
        entering += ["--setgid", gid, "--", "env", f"PATH={self._image.environment['PATH']}"]
        given = {**self._image.environment, **self._told["environment"]}
        return subprocess.run(
            [*entering, *(f"{name}={value}" for name, value in given.items()), *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def stop(self) -> int:
        """By the image's signal, within the time that compose gives; the exit code."""
        os.kill(self.main, signal.Signals[self._image.settings["STOPSIGNAL"]])
        limit = float(self._told["stop_grace_period"].removesuffix("s"))
        return self._nspawn.wait(min(limit, _STOP_SECONDS))

    def close(self) -> None:
        if main := self.main:
            os.kill(main, signal.SIGKILL)
        try:
            self._nspawn.wait(20)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait(20)
