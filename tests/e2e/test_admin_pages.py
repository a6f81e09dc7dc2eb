"""Every command that the pages for admins print is run, or marked as needing an outside system.

` ```sh KIND` blocks are run by the test that `RUN_BY` names. The commands of ` ```console` blocks,
which show answers too, are run here, one by one and in their order, against a running program.
What needs another system stands in ` ```console outside` blocks.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from tests.e2e.test_readme_tour import GUIDES
from tests.support.appliance import PROGRAM, Appliance, appliance_in_temporary_root

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted((CHECKOUT / "docs" / "operations").glob("*.md"))
_MACHINE = "tests/packaging/test_machine.py"
_RUNBOOK = "tests/e2e/test_readme_tour.py"
RUN_BY = {
    **{("install", kind): _MACHINE for kind in ("install", "package", "configure", "verify")},
    ("install", "remove"): _MACHINE,
    ("install", "unpack"): "tests/packaging/test_build.py",
    ("systemd", "systemd"): _MACHINE,
    ("hardening", "hardening"): _MACHINE,
    **{("tls", kind): _MACHINE for kind in ("own", "force", "renew")},
    **{("upgrade", kind): _MACHINE for kind in ("socket", "upgrade", "rollback")},
    **{("runbook", kind): _RUNBOOK for kind in ("", "webhooks", "stopped")},
}
# What is shell, and what only ever is an answer or a file.
_SHELLS = ("sh", "console")
_FILES = ("", "toml", "ini", "yaml", "json")
_FENCE = re.compile(r"^ *```(\w*)(?: (\w+))?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SECONDS = 150.0
_CONFIG = """\
[backup]
passphrase_file = "{passphrase}"
"""
# In the place of what stands for the reader's own; the answers differ from 0 where told.
_OWN = {
    "passphrase --root /srv/new": '"$PASSPHRASE" --yes --root "$NEW"',
    "novapulse-20261123T023412Z.tar": "$BACKUP",
    "logs api --follow": "logs api",
    "COMPANY": "$COMPANY",
    # It would ask a person.
    "user reset-mfa ann@example.com --root": "user reset-mfa ann@example.com --yes --root",
}
_ANSWERS = {"doctor": (0, 1), "mail suppressions remove": (66,), "--request": (0, 66)}


@dataclass(frozen=True)
class Place:
    """A running program with what the pages speak of, and the variables that they use."""

    appliance: Appliance
    variables: dict[str, str]

    def ensure_running(self) -> None:
        """Some commands stop it: they return when it has let go of all, just before its end."""
        assert self.appliance.main is not None
        if not (self.appliance.root / "run" / "control.sock").exists():
            self.appliance.wait()
            self.appliance.start()
            self.variables["API"] = f"{self.appliance.url}/api/v1"

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        for theirs, ours in _OWN.items():
            command = command.replace(theirs, ours)
        if "novapulse " in command and "--root" not in command:
            command = re.sub(r"(?=&& novapulse|$)", ' --root "$ROOT" ', command)
        command = re.sub(r"(\.venv/bin/)?novapulse (?=[a-z])", f"{PROGRAM} ", command)
        return subprocess.run(
            ["bash", "-euc", command],
            cwd=CHECKOUT,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **self.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )


def fences(page: Path) -> Iterator[tuple[str, str, str]]:
    """Language, kind and content of each block."""
    for found in _FENCE.finditer(page.read_text()):
        yield found[1], found[2] or "", dedent(found[3])


def commands(block: str) -> Iterator[str]:
    """What was typed: after the prompt, without a remark, continued lines in one; or cron's."""
    joined = re.sub(r"\\\n\s*", " ", block)
    for line in joined.splitlines():
        if is_crontab(line):
            yield line.split(maxsplit=5)[5]
        if line.startswith("$ "):
            yield re.sub(r"\s+# .*$", "", line.removeprefix("$ ")).strip()


def is_crontab(text: str) -> bool:
    return re.match(r"(\d+ ){2}(\* ){3}", text) is not None


def expected(command: str) -> tuple[int, ...]:
    return next((codes for words, codes in _ANSWERS.items() if words in command), (0,))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_run_by_a_test_or_marked(page: Path):
    for language, kind, content in fences(page):
        if language == "sh":
            test = (CHECKOUT / RUN_BY[page.stem, kind]).read_text()
            assert f'"{kind}"' in test, f"nobody runs {kind} of {page.name}"
        elif language == "console":
            assert kind in ("", "outside"), f"{page.name} has a block of the kind {kind}"
            assert list(commands(content)), f"{page.name} has a block without a command"
        else:
            assert language in _FILES, f"{page.name} has a block of {language}"
            assert "novapulse " not in content or language == "yaml" or is_crontab(content), content


def test_what_is_listed_as_run_is_there():
    present = {
        (page.stem, kind) for page in PAGES for lang, kind, _ in fences(page) if lang == "sh"
    }
    assert present == RUN_BY.keys()
    assert GUIDES


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("pages")
    passphrase = directory / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text("correct horse battery staple\n")
    with appliance_in_temporary_root(_CONFIG.format(passphrase=passphrase)) as appliance:
        appliance.start()
        admin = appliance.found_company()
        company = json.loads(appliance.cli("company", "list", "--json").stdout)["companies"][0][
            "id"
        ]
        ann = ("ann@example.com", "--company", company, "--role", "company_admin")
        made = appliance.cli("user", "create", *ann)
        assert made.returncode == 0, made.stderr
        report = admin.post("/reports", {"kind": "task_list", "format": "csv"}).must(202)
        place = Place(
            appliance,
            {
                "ROOT": str(appliance.root),
                "NEW": str(appliance.root.parent / "new"),
                "PASSPHRASE": str(passphrase),
                "COMPANY": company,
                "API": f"{appliance.url}/api/v1",
                "AUTH": f"Authorization: {admin.headers['Authorization']}",
                "REPORT": report["id"],
                "WORKFLOW": "0" * 24,
                "RUN": "0" * 24,
            },
        )
        backup = place.run("novapulse backup create")
        assert backup.returncode == 0, backup.stderr
        place.variables["BACKUP"] = backup.stdout.split()[-1]
        yield place


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_that_a_page_shows_works(place: Place, page: Path):
    shown = [
        command
        for language, kind, content in fences(page)
        if (language, kind) == ("console", "") or is_crontab(content)
        for command in commands(content)
    ]
    for command in shown:
        place.ensure_running()
        done = place.run(command)
        assert done.returncode in expected(command), f"{command}\n{done.stdout}{done.stderr}"
