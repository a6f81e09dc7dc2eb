"""Resolved settings reach a child whole, and nobody else."""

from pathlib import Path

import pytest

from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.settings import Loaded, dump, load, read_handoff, restore, write_handoff


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    environ = {
        "JWT_ACCESS_SECRET": "s" * 40,
        "REDIS_URL": "redis://:canary@h",
        "NOVAPULSE__SERVER__TRUSTED_PROXIES": "10.0.0.0/8",
        "NOVAPULSE__MAIL__FROM": "n@example.com",
    }
    return load(root=tmp_path, environ=environ, overrides={"rate_limits.login": "7/second"})


def test_a_tree_survives_dump_and_restore(loaded: Loaded) -> None:
    assert restore(dump(loaded.settings)) == loaded.settings


def test_a_handoff_brings_everything_and_is_private(loaded: Loaded, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text("old")
    path.chmod(0o644)
    write_handoff(loaded, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_handoff(path) == loaded
    assert [p.name for p in tmp_path.iterdir()] == ["settings.json"]


def test_a_handoff_that_others_can_read_is_refused(loaded: Loaded, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    write_handoff(loaded, path)
    path.chmod(0o640)
    with pytest.raises(ConfigurationInvalid, match="somebody else"):
        read_handoff(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"settings": {"server": {"x": 1}}}'])
def test_a_damaged_handoff_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationInvalid, match="damaged"):
        read_handoff(path)


def test_a_missing_handoff_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="can not be read"):
        read_handoff(tmp_path / "none")


def test_what_was_loaded_never_shows_a_secret(loaded: Loaded) -> None:
    assert "canary" not in repr(loaded)
    assert "sss" not in repr(loaded)
