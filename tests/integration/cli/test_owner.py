"""Root acts as the user whose data it is; nobody else becomes anybody."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

_OWNER = 65534  # nobody, whom every machine has
_ASK = """\
import json, os, sys
from pathlib import Path
from novapulse.cli.owner import act_as_owner_of
act_as_owner_of(Path(sys.argv[1]))
made = Path(sys.argv[1]) / "made"
try:
    made.write_text("")
    owner = made.stat().st_uid
except OSError:
    owner = None
try:
    os.setuid(0)
    can_return = os.geteuid() == 0
except PermissionError:
    can_return = False
told = {"ids": os.getresuid(), "groups": os.getgroups(), "home": os.environ.get("HOME")}
print(json.dumps(told | {"made": owner, "returns": can_return}))
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def state() -> Iterator[Path]:
    """A directory that any user can reach."""
    top = Path(mkdtemp(prefix="np-owner-", dir="/tmp"))
    top.chmod(0o755)
    yield top
    shutil.rmtree(top)


def act_on(directory: Path) -> dict[str, Any]:
    """What a process is and can do after it acted; by itself, as there is no way back."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK, directory],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_root_becomes_the_owner_for_good(state: Path):
    os.chown(state, _OWNER, _OWNER)
    told = act_on(state)
    assert told["ids"] == [_OWNER] * 3
    assert told["made"] == _OWNER
    assert not told["returns"]
    assert 0 not in told["groups"]
    assert told["home"] != os.environ.get("HOME")


def test_root_stays_root_where_the_data_is_roots(state: Path):
    told = act_on(state)
    assert told["ids"] == [0, 0, 0]
    assert told["made"] == 0


def test_root_stays_root_where_nothing_is_yet(state: Path):
    assert act_on(state / "absent")["ids"] == [0, 0, 0]


def test_an_owner_without_an_account_is_nobody_to_become(state: Path):
    os.chown(state, 54321, 54321)
    assert act_on(state)["ids"] == [0, 0, 0]
