"""Root acts as the user whose data it is; nobody else becomes anybody."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from novapulse.backup.sealing import Lock, SealingFile

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
# A verb; loaded before, as the owner perhaps may not read the interpreter's own library.
_VERB = """\
import sys
from importlib import import_module
for name in sys.argv[1].split():
    import_module(name)
from novapulse.cli.program import main
main(sys.argv[2:])
"""
_LOADED = (
    *(
        "novapulse.cli.session",
        "novapulse.cli.backup",
        "novapulse.cli.support",
        "encodings.utf_8_sig",
    ),
    *("novapulse.processes.restoring", "novapulse.processes.support_bundle"),
)

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="NOT TESTED: only root can become somebody else"
)


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


@pytest.fixture
def root(state: Path) -> Path:
    """An installation of another user."""
    (state / "state").mkdir(mode=0o700)
    os.chown(state / "state", _OWNER, _OWNER)
    return state


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory like /root."""
    tmp_path.chmod(0o700)
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery\n")
    passphrase.chmod(0o600)
    (tmp_path / "x.tar").write_bytes(b"no backup")
    return tmp_path


def run(root: Path, *words: str, cwd: Path = Path("/")) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", _VERB, " ".join(_LOADED), *words, "--root", root],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_backup_where_only_root_may_look_is_refused_with_what_to_do(root: Path, closed: Path):
    (root / "x.tar").touch(mode=0o600)
    for path, cwd in ((closed / "x.tar", root), (Path("x.tar"), closed), (root / "x.tar", root)):
        done = run(root, "backup", "restore", str(path), "--yes", cwd=cwd)
        assert (done.returncode, done.stdout) == (69, "")
        what, hint = done.stderr.splitlines()
        assert what == f"error: {cwd / path} can not be read: Permission denied"
        owner = pwd.getpwuid(_OWNER).pw_name
        assert hint.endswith(f"install -o {owner} -m 0600 FILE {root / 'state'}")


def test_a_passphrase_that_root_names_is_read_by_root(root: Path, closed: Path):
    path = root / "x.tar.enc"
    with path.open("wb") as file:
        sealing = SealingFile(file, Lock.new(b"correct horse battery"))
        sealing.write(b"no backup")
        sealing.close()
    verify = ("backup", "verify", str(path))
    done = run(root, *verify, "--passphrase-file", str(closed / "passphrase"))
    assert done.returncode == 65
    assert "x.tar.enc is damaged" in done.stderr, "it was opened"
    assert "name its passphrase file" in run(root, *verify).stderr


def test_a_passphrase_in_the_settings_is_the_owner_s_to_read(root: Path, closed: Path):
    shutil.copy(closed / "x.tar", root / "x.tar")
    file = root / "passphrase"
    shutil.copy2(closed / "passphrase", file)
    (root / "config.toml").write_text(f'[backup]\npassphrase_file = "{file}"\n')
    done = run(root, "backup", "verify", str(root / "x.tar"))
    assert done.returncode == 78
    assert f"chown {pwd.getpwuid(_OWNER).pw_name} {file}" in done.stderr
    os.chown(file, _OWNER, _OWNER)
    assert run(root, "backup", "verify", str(root / "x.tar")).returncode == 65


def test_a_bundle_lies_where_root_is_and_belongs_to_root(root: Path, closed: Path):
    done = run(root, "support", "bundle", cwd=closed)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.parent == closed
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (0, 0o600)
    with tarfile.open(path) as archive:
        assert f"{path.name.removesuffix('.tar.gz')}/config.txt" in archive.getnames()


def test_a_bundle_that_fails_leaves_no_file(root: Path, closed: Path):
    done = run(root, "support", "bundle", "--config", "also", "--output", str(closed / "b"))
    assert done.returncode == 2
    assert not (closed / "b").exists()
