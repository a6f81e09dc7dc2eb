"""What must never get into a bundle."""

import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from novapulse.core.errors import Conflict
from novapulse.core.settings import Loaded, Paths, load
from novapulse.processes.support_bundle import new_bundle, redact, write_bundle

CONFIG = """\
[mongo]
uri = "mongodb://nova:Sup3r-s3cret%21x@db.example.com/?replicaSet=rs0"

[redis]
url = "rediss://:an0ther-secret@cache.example.com:6380/0"

[mail]
host = "mail.example.com"
from = "nova@example.com"
password_file = "{password_file}"
"""
PLANTED = (
    *("Sup3r-s3cret%21x", "Sup3r-s3cret!x", "an0ther-secret", "mail-pa55word", "key-of-the-ring-1"),
    *("plain-password-file", "whsec_c2VjcmV0", "eyJhbGciOiJI.eyJzdWIiOiIx.c2ln", "jwt-secret" * 4),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    secrets = root / "state" / "secrets"
    secrets.mkdir(parents=True)
    (tmp_path / "smtp").write_text("mail-pa55word\n")
    (root / "config.toml").write_text(CONFIG.format(password_file=tmp_path / "smtp"))
    (secrets / "data-keys.json").write_text('{"keys": {"1": "key-of-the-ring-1"}}')
    (secrets / "redis.password").write_text("plain-password-file\n")
    (root / "log").mkdir()
    (root / "log" / "api-1.log").write_text("".join(f"a line with {one}\n" for one in PLANTED))
    return root


def bundle_of(loading: Callable[[], Loaded], paths: Paths, output: Path) -> Path:
    with new_bundle(output) as new:
        write_bundle(loading, paths, new)
    return new.path


def packed(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        files = {member.name.partition("/")[2]: archive.extractfile(member) for member in archive}
        return {name: file.read().decode() for name, file in files.items() if file is not None}


def test_a_bundle_holds_settings_versions_findings_and_log_lines_but_no_secret(
    root: Path, tmp_path: Path
):
    environ = {"JWT_ACCESS_SECRET": "jwt-secret" * 4}
    loading = partial(load, root=root, environ=environ)
    path = bundle_of(loading, loading().paths, tmp_path / "bundle.tar.gz")
    files = packed(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {"README.txt", "versions.json", "config.txt", "status.json", "doctor.json"} < set(files)
    assert files["logs/api-1.log"].count("[redacted]") >= len(PLANTED)
    assert "db.example.com" in files["config.txt"]
    for secret in PLANTED:
        assert [name for name, text in files.items() if secret in text] == [], secret


def test_a_broken_configuration_does_not_stop_a_bundle(root: Path, tmp_path: Path):
    paths = load(root=root, environ={}).paths
    (root / "config.toml").write_text("[mongo]\nuri = 'mongodb://u:leaked-pw@x/?w=1'\n")
    path = bundle_of(partial(load, root=root, environ={}), paths, tmp_path / "b.tar.gz")
    files = packed(path)
    assert files["config.txt"].startswith("not usable: ")
    assert not any("leaked-pw" in text for text in files.values())


def test_a_file_that_is_there_is_never_overwritten(root: Path, tmp_path: Path):
    taken = tmp_path / "taken"
    taken.write_text("precious")
    loading = partial(load, root=root, environ={})
    with pytest.raises(Conflict):
        bundle_of(loading, loading().paths, taken)
    assert taken.read_text() == "precious"


def test_a_password_in_any_url_is_left_out():
    assert redact("at amqp://ann:pass@host/x", []) == "at amqp://[redacted]@host/x"
