"""What README.md, some guides and the runbook print is run here as it is printed."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.appliance import (
    PROGRAM,
    Appliance,
    SharedAppliance,
    appliance_in_temporary_root,
)

CHECKOUT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^ *```sh( \w+)?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# Below the time that a whole test gets, so that what was started is cleaned up.
SHELL_SECONDS = 50.0


def blocks(page: str, *, kind: str = "", section: str = "") -> list[str]:
    """The `sh` blocks of a page, or of one of its sections, that carry `kind` after the `sh`."""
    text = (CHECKOUT / page).read_text()
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = BLOCK.finditer(text)
    return [dedent(match[2]) for match in found if (match[1] or "").strip() == kind]


@contextmanager
def reserved_address() -> Iterator[str]:
    """A port of the kernel's that nobody else gets; whoever reuses addresses may listen on it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{holder.getsockname()[1]}"


def run_in_bash(script: str, root: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """One shell for all of it, as strict as a shell gets."""
    names = ("PATH", "HOME", "LANG", "PYTHONPATH")
    passed_on = {name: os.environ[name] for name in names if name in os.environ}
    script = script.replace(".venv/bin/novapulse", str(PROGRAM))
    try:
        return subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{script}"],
            cwd=CHECKOUT,
            env={**passed_on, "ROOT": str(root), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SHELL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        pytest.fail(
            f"not done in {SHELL_SECONDS} s:\n{(late.output or b'').decode()}", pytrace=False
        )


@pytest.fixture
def fresh() -> Iterator[Appliance]:
    """A root that does not exist yet; whatever runs for it afterwards is killed."""
    with appliance_in_temporary_root() as one:
        yield one


@pytest.mark.slow
def test_the_tour_of_the_readme_works_as_it_is_printed(fresh: Appliance):
    tour = blocks("README.md", section="A tour in five minutes")
    assert len(tour) > 5, "the tour was not found"
    with reserved_address() as address:
        done = run_in_bash("".join(tour), fresh.root, LISTEN=address)
    talk = fresh.root / "output.txt"
    said = done.stdout + (talk.read_text()[-3000:] if talk.exists() else "")
    assert done.returncode == 0, said
    assert f"NovaPulse is ready at http://{address}" in done.stdout
    assert "X-NovaPulse-Event: task.created" in done.stdout
    assert '"title":"Water the plants"' in done.stdout
    assert '"class": "ok"' in done.stdout
    assert "The signature is good" in done.stdout
    until_alone(fresh)


def until_alone(appliance: Appliance) -> None:
    """A process that was told to end may take a moment."""
    deadline = time.monotonic() + 5
    while left := appliance.live_pids():
        assert time.monotonic() < deadline, f"processes were left behind: {left}"
        time.sleep(0.05)


# Guides whose `sh` blocks, one after the other in one shell, go on where the tour has signed in.
GUIDES = (
    "docs/guides/tasks-and-projects.md",
    "docs/guides/notifications.md",
    "docs/guides/mail.md",
    "docs/guides/reports-and-exports.md",
)


@pytest.mark.parametrize("page", GUIDES)
def test_a_guide_works_as_it_is_printed(shared_appliance: SharedAppliance, page: str):
    appliance, admin = shared_appliance.appliance, shared_appliance.admin
    variables = {
        "API": f"{appliance.url}/api/v1",
        "AUTH": f"Authorization: {admin.headers['Authorization']}",
    }
    commands = blocks(page)
    assert commands, "the commands were not found"
    done = run_in_bash("".join(commands), appliance.root, **variables)
    assert done.returncode == 0, done.stdout
    assert '"code":' not in done.stdout, done.stdout


@pytest.mark.slow
def test_every_command_of_the_runbook_runs(appliance: Appliance):
    page = "docs/operations/runbook.md"
    appliance.start()
    admin = appliance.found_company()
    webhook = admin.subscribe("http://127.0.0.1:9/", "task.*")
    variables = {
        "API": f"{appliance.url}/api/v1",
        "AUTH": f"Authorization: {admin.headers['Authorization']}",
        "WEBHOOK": webhook["id"],
    }
    for kind in ("", "webhooks", "stopped"):
        commands = blocks(page, kind=kind)
        assert commands, f"there are no blocks of the kind {kind!r}"
        for command in commands:
            done = run_in_bash(command, appliance.root, **variables)
            assert done.returncode == 0, f"{command}\n{done.stdout}"
            assert '"code":' not in done.stdout, f"{command}\n{done.stdout}"
    assert appliance.wait() == 0
    restored = appliance.root.with_name("root.restored")
    assert (restored / "config.toml").read_bytes() == (appliance.root / "config.toml").read_bytes()
    assert (restored / "state" / "secrets").stat().st_mode & 0o777 == 0o700
