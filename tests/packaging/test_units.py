"""The unit files, by the judgement of systemd's own tools."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.packaging.conftest import CHECKOUT

UNITS = CHECKOUT / "systemd"
SERVICES = ("novapulse.service", "novapulse-backup.service")
# systemd-analyze's scale is 0 to 10 here 0 to 100: lower is better contained.
MOST_EXPOSED = 20


def analyze(*arguments: str) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("NOT TESTED: THE UNITS: systemd-analyze is not here (apt install systemd)")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_well_contained(name: str):
    analyze("security", "--offline=yes", f"--threshold={MOST_EXPOSED}", str(UNITS / name))


def test_every_unit_is_correct(tmp_path: Path):
    """With a program that exists on this machine, as ours is not installed here."""
    units = [path for path in sorted(UNITS.iterdir()) if path.suffix != ".sysusers"]
    copies = []
    for unit in units:
        if unit.suffix in (".service", ".socket", ".timer"):
            text = unit.read_text().replace("/opt/novapulse/current/novapulse", "/bin/true")
            (tmp_path / unit.name).write_text(text)
            copies.append(str(tmp_path / unit.name))
    assert len(copies) == 4
    analyze("verify", *copies)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_takes_its_environment_from_the_one_place_for_it(name: str):
    """Else the nightly backup would look for another database than the service works on."""
    lines = (UNITS / name).read_text().splitlines()
    assert "EnvironmentFile=-/etc/novapulse/environment" in lines


@pytest.mark.parametrize(("code", "outcome"), [(0, 0), (69, 0), (65, 65), (78, 78)])
def test_a_drill_without_room_does_not_make_its_backup_look_failed(
    code: int, outcome: int, tmp_path: Path
):
    """What it says of the backup does: a damaged one is to be seen the next morning."""
    program = tmp_path / "novapulse"
    program.write_text(f"#!/bin/sh\nexit {code}\n")
    program.chmod(0o755)
    text = (UNITS / "novapulse-backup.service").read_text()
    text = text.replace("/opt/novapulse/current/novapulse", str(program)).replace("$$", "$")
    _, drill = (
        line.partition("=")[2] for line in text.splitlines() if line.startswith("ExecStart=")
    )
    done = subprocess.run(shlex.split(drill), check=False)
    assert done.returncode == outcome


def test_the_page_names_credentials_of_the_unit_that_loads_them():
    page = (CHECKOUT / "docs" / "operations" / "systemd.md").read_text()
    named = re.findall(r"/run/credentials/([\w.-]+)/([\w-]+)", page)
    assert {unit for unit, _ in named} == set(SERVICES)
    for unit, credential in named:
        assert f"\nLoadCredential={credential}\n" in (UNITS / unit).read_text()


def test_a_stop_has_more_time_than_the_program_takes():
    from novapulse.core.settings.tree import DECLARATIONS
    from novapulse.processes.specs import STORE_STOP_SECONDS

    drain = float(str(DECLARATIONS["server.drain_seconds"].default))
    lines = (UNITS / "novapulse.service").read_text().splitlines()
    (given,) = (int(one.partition("=")[2]) for one in lines if one.startswith("TimeoutStopSec="))
    assert given > 2 * (drain + 1) + 2 + 2 * STORE_STOP_SECONDS
