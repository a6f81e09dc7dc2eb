"""What is built, and what is built once more to compare or to upgrade to."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from tests.support.booted import Machine, booted_machine

CHECKOUT = Path(__file__).resolve().parents[2]
BUILD_PYTHON = CHECKOUT / ".build" / "venv" / "bin" / "python"
_BUILD_SECONDS = 280.0
# The archives of a test run alone are not made small.
IN_HASTE = "PACKED_IN_HASTE" in os.environ


@dataclass(frozen=True)
class Built:
    """One run of the builder."""

    dist: Path
    tree: Path

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.tree / "release.json").read_text())
        return facts

    @property
    def version(self) -> str:
        return str(self.facts["version"])

    @property
    def archive(self) -> Path:
        return self.dist / f"novapulse-{self.version}-linux-x86_64.tar.xz"

    @property
    def archive_with_stores(self) -> Path:
        return self.dist / f"novapulse-{self.version}-linux-x86_64-with-stores.tar.xz"

    @property
    def package(self) -> Path:
        return self.dist / f"novapulse_{self.version}_amd64.deb"


def build(work: Path, *arguments: str, checkout: Path = CHECKOUT) -> Built:
    """Run the builder; what it compressed before is not compressed again."""
    command = [BUILD_PYTHON, checkout / "packaging" / "build.py", "--work", work]
    done = subprocess.run(
        [*command, "--dest", work / "dist", "--cache", CHECKOUT / ".build/compressed", *arguments],
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Built(work / "dist", work / "tree")


@pytest.fixture(scope="session")
def built() -> Iterator[Built]:
    """What `make build` made; after `make test-machine`, what is only packed in haste."""
    tree = CHECKOUT / ".build" / "tree"
    if not (tree / "release.json").is_file():
        pytest.fail("there is nothing to test: make build", pytrace=False)
    if not IN_HASTE:
        one = Built(CHECKOUT / "dist", tree)
        if not one.archive.is_file():
            pytest.fail("there is nothing to test: make build", pytrace=False)
        yield one
        return
    with _packed(tree) as one:
        yield Built(one.dist, tree)


@pytest.fixture(scope="session")
def newer(built: Built) -> Iterator[Built]:
    """The same program under a higher version."""
    with _packed(built.tree, "--version", re.sub(r"\d", "9", built.version)) as one:
        yield one


@contextmanager
def _packed(tree: Path, *arguments: str) -> Iterator[Built]:
    """Packed in haste, as nobody keeps it."""
    work = Path(mkdtemp(prefix="np-packed-", dir="/var/tmp"))
    try:
        yield build(work, "--only-pack", str(tree), "--preset", "0", *arguments)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A booted Debian 12 with nothing installed."""
    with booted_machine(Path(mkdtemp(prefix="np-machine-", dir="/var/tmp"))) as one:
        yield one
