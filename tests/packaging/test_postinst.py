"""What the Debian package does once its files are there, with a systemctl that only notes."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.packaging.conftest import CHECKOUT

_SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$NOTES"
case "$*" in *is-active*) [ "$IS_ACTIVE" = yes ] ;; esac
"""
_NOTHING = "#!/bin/sh\n"
_ENABLED = ["--quiet enable novapulse.service", "--quiet enable --now novapulse-backup.timer"]
_RESTARTED = ["restart novapulse.service"]


class System:
    """A root of its own for the script's paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mark = root / "var/lib/novapulse/.removed"
        self.booted = root / "run/systemd/system"
        configuration = root / "etc/novapulse/config.toml"
        for directory in (self.mark.parent, self.booted, configuration.parent, root / "bin"):
            directory.mkdir(parents=True)
        configuration.touch()
        for name in ("systemctl", "systemd-sysusers", "chown"):
            program = root / "bin" / name
            program.write_text(_SYSTEMCTL if name == "systemctl" else _NOTHING)
            program.chmod(0o755)

    def configure(self, former: str, *, is_active: bool) -> list[str]:
        """What systemctl was told to change; `former` is the version that dpkg knows of."""
        text = (CHECKOUT / "packaging/debian/postinst").read_text()
        for top in ("/var/lib/", "/etc/", "/run/"):
            text = text.replace(f" {top}", f" {self.root}{top}")
        notes = self.root / "notes"
        notes.write_text("")
        environment = {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "NOTES": str(notes),
            "IS_ACTIVE": "yes" if is_active else "no",
        }
        words = ["sh", "-c", text, "postinst", "configure", former]
        subprocess.run(words, env=environment, check=True)
        said = notes.read_text().splitlines()
        return [one for one in said if "is-active" not in one and one != "daemon-reload"]


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def test_the_first_installation_is_enabled_and_not_started(system: System):
    assert system.configure("", is_active=False) == _ENABLED


def test_an_upgrade_restarts_what_runs_and_enables_nothing(system: System):
    assert system.configure("0.0.9", is_active=True) == _RESTARTED
    assert system.configure("0.0.9", is_active=False) == []


def test_an_installation_after_a_removal_is_enabled_once(system: System):
    system.mark.mkdir()
    assert system.configure("0.0.9", is_active=False) == _ENABLED
    assert system.configure("0.0.9", is_active=False) == []


@pytest.mark.parametrize("former", ["", "0.0.9"])
def test_what_was_installed_from_the_archive_meanwhile_is_restarted(system: System, former: str):
    system.mark.mkdir()
    assert system.configure(former, is_active=True) == _ENABLED + _RESTARTED


def test_an_installation_where_systemd_does_not_run_forgets_the_removal(system: System):
    """Else an upgrade later on would enable what somebody had disabled."""
    system.mark.mkdir()
    system.booted.rmdir()
    assert system.configure("0.0.9", is_active=False) == []
    assert not system.mark.exists()
