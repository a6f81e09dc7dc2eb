"""Where files and sockets are, and that others can not be in the way."""

import os
from pathlib import Path

import pytest

from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.settings import load, socket_dir
from novapulse.core.settings.paths import LONGEST_SOCKET_NAME, find_paths

LONG = "/" + "d" * 90


def test_a_root_holds_everything_and_looks_nowhere_else(tmp_path: Path) -> None:
    environ = {"NOVAPULSE_CONFIG": "/x.toml", "STATE_DIRECTORY": "/s"}
    paths, must_exist = find_paths(tmp_path, None, environ)
    assert paths.config_file == tmp_path / "config.toml"
    assert (paths.state, paths.run, paths.log) == tuple(
        tmp_path / d for d in ("state", "run", "log")
    )
    assert not must_exist


def test_a_relative_root_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_paths("a/../b", None, {})[0].state == tmp_path / "b" / "state"


def test_without_a_root_the_systems_places_are_used() -> None:
    paths, must_exist = find_paths(None, None, {})
    assert str(paths.config_file) == "/etc/novapulse/config.toml"
    assert [str(p) for p in (paths.state, paths.run, paths.log)] == [
        "/var/lib/novapulse",
        "/run/novapulse",
        "/var/log/novapulse",
    ]
    assert not must_exist


def test_systemds_directories_win() -> None:
    environ = {
        "STATE_DIRECTORY": "/s/one:/s/two",
        "RUNTIME_DIRECTORY": "/r",
        "LOGS_DIRECTORY": "relative",
    }
    paths, _ = find_paths(None, None, environ)
    assert [str(p) for p in (paths.state, paths.run, paths.log)] == [
        "/s/one",
        "/r",
        "/var/log/novapulse",
    ]


def test_the_flag_wins_over_the_variable_for_the_file() -> None:
    environ = {"NOVAPULSE_CONFIG": "/variable.toml"}
    assert str(find_paths(None, None, environ)[0].config_file) == "/variable.toml"
    assert find_paths(None, "/flag.toml", environ) == (
        find_paths(None, "/flag.toml", {})[0],
        True,
    )


def test_root_and_config_exclude_each_other() -> None:
    with pytest.raises(ConfigurationInvalid, match="exclude each other"):
        load(root="/a", config="/b", environ={})


def test_a_root_without_a_file_runs_on_defaults(tmp_path: Path) -> None:
    assert set(load(root=tmp_path, environ={}).origins.values()) == {"default"}


def test_a_short_run_directory_holds_the_sockets_itself() -> None:
    run = Path("/" + "r" * (100 - LONGEST_SOCKET_NAME - 2))
    assert socket_dir(run, environ={}) == run


def test_a_long_run_directory_gets_a_private_one_that_is_found_again(tmp_path: Path) -> None:
    session = {"XDG_RUNTIME_DIR": str(tmp_path)} if len(str(tmp_path)) < 50 else {}
    run = Path(LONG) / os.urandom(8).hex()
    place = socket_dir(run, environ=session)
    try:
        assert place.stat().st_mode & 0o777 == 0o700
        assert len(str(place)) + 1 + LONGEST_SOCKET_NAME <= 100
        assert socket_dir(run, environ=session) == place
        assert socket_dir(run.with_name("other"), environ=session) != place
    finally:
        place.rmdir()
        socket_dir(run.with_name("other"), environ=session).rmdir()


def test_a_private_directory_is_found_from_another_session(tmp_path: Path) -> None:
    run = tmp_path / ("r" * 90)
    place = socket_dir(run, environ={})
    try:
        assert place.parent == Path("/tmp")
        assert socket_dir(run, environ={"XDG_RUNTIME_DIR": "/dev/shm"}) == place
    finally:
        place.rmdir()


def test_a_private_directory_that_others_can_reach_is_refused(tmp_path: Path) -> None:
    run = tmp_path / ("r" * 90)
    place = socket_dir(run, environ={})
    try:
        place.chmod(0o750)
        with pytest.raises(ConfigurationInvalid, match="this user alone"):
            socket_dir(run, environ={})
    finally:
        place.rmdir()


def test_a_planted_link_is_refused(tmp_path: Path) -> None:
    run = tmp_path / ("r" * 90)
    place = socket_dir(run, environ={})
    place.rmdir()
    place.symlink_to(tmp_path)
    try:
        with pytest.raises(ConfigurationInvalid, match="this user alone"):
            socket_dir(run, environ={})
    finally:
        place.unlink()
