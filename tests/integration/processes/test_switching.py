"""A failed upgrade, with a stand-in for systemctl that keeps the state of the unit."""

import json
from pathlib import Path

import pytest

from novapulse.processes.release import Release
from novapulse.processes.switching import UpgradeFailed, apply, roll_back
from novapulse.processes.upgrade import Installation

# A release starts unless its directory has `exits` (78: it is not tried again) or `hangs` (systemd
# tries it again and again). What was asked, and which release that started, is noted.
_SYSTEMCTL = """\
#!/bin/sh
cd "$(dirname "$0")"
for word; do case "$word" in -*) ;; *) verb=$word; break ;; esac; done
state=$(cat state)
case $verb in
    show) echo "$state" ;;
    is-active) [ "$state" = active ] || [ "$state" = reloading ] ;;
    restart | start)
        release=$(basename "$(readlink -f current)")
        if [ -e "current/exits" ]; then state=failed
        elif [ -e "current/hangs" ]; then state=activating
        else state=active; fi
        echo "$verb $release $state" >> asked
        echo "$state" > state
        [ "$state" = active ] || { echo "Job for novapulse.service failed." >&2; exit 1; }
        ;;
esac
"""
_INSTALL = '#!/bin/sh\n[ ! -e "$(dirname "$0")/damaged" ] || { echo full >&2; exit 1; }\n'
_INSTALL += 'ln -sfn "$(dirname "$0")" "$2/current"\n'
_PROGRAM = '#!/bin/sh\n{ echo "$@"; env; } > "$(dirname "$0")/told"\n'


def release(place: Path, version: str, *marks: str, schema: int = 7) -> Release:
    directory = place / version
    directory.mkdir()
    facts = {"version": version, "schema": schema, "glibc": "2.36", "python": "3.11"}
    (directory / "release.json").write_text(json.dumps(facts))
    for name, text in (("install.sh", _INSTALL), ("novapulse", _PROGRAM)):
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    for mark in marks:
        (directory / mark).touch()
    return Release(directory)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Release 1 is installed, and runs."""
    (tmp_path / "systemctl").write_text(_SYSTEMCTL)
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    current = release(tmp_path, "1")
    (tmp_path / "current").symlink_to(current.directory)
    become(tmp_path, "active")
    (tmp_path / "asked").touch()
    return Installation(tmp_path, current)


def become(place: Path, state: str) -> None:
    (place / "state").write_text(state + "\n")


def asked(here: Installation) -> list[str]:
    return (here.prefix / "asked").read_text().splitlines()


def in_use(here: Installation) -> str:
    return (here.prefix / "current").resolve().name


@pytest.mark.parametrize(("mark", "state"), [("exits", "failed"), ("hangs", "activating")])
def test_the_former_release_is_started_when_the_new_one_does_not_come_up(
    here: Installation, mark: str, state: str
):
    new = release(here.prefix, "2", mark)
    with pytest.raises(UpgradeFailed) as failed:
        apply(new, here, say=lambda _: None)
    assert asked(here) == [f"restart 2 {state}", "restart 1 active"]
    assert in_use(here) == "1"
    assert failed.value.hint.startswith("1 runs again")


@pytest.mark.parametrize("mark", ["exits", "damaged"])
def test_it_is_not_said_to_run_again_when_it_does_not(here: Installation, mark: str):
    new = release(here.prefix, "2", "exits")
    (here.current.directory / mark).touch()
    with pytest.raises(UpgradeFailed) as failed:
        apply(new, here, say=lambda _: None)
    assert "runs again" not in failed.value.hint
    assert "systemctl restart novapulse.service" in failed.value.hint


def test_a_changed_schema_leaves_the_new_release_and_says_so(here: Installation):
    new = release(here.prefix, "2", "exits", schema=8)
    with pytest.raises(UpgradeFailed, match="did not become ready") as failed:
        apply(new, here, say=lambda _: None)
    assert asked(here) == ["restart 2 failed"]
    assert "restore the backup" in failed.value.hint


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_service_that_did_not_run_is_left_alone(here: Installation, state: str):
    become(here.prefix, state)
    said: list[str] = []
    apply(release(here.prefix, "2"), here, say=said.append)
    assert in_use(here) == "2"
    roll_back(here.current, here, said.append)
    assert in_use(here) == "1"
    assert asked(here) == []
    assert sum("systemctl start novapulse.service" in line for line in said) == 2


@pytest.mark.parametrize("state", ["active", "activating", "reloading"])
def test_one_that_runs_or_is_tried_again_and_again_is_restarted(here: Installation, state: str):
    become(here.prefix, state)
    apply(release(here.prefix, "2"), here, say=lambda _: None)
    become(here.prefix, state)
    roll_back(here.current, here, lambda _: None)
    assert asked(here) == ["restart 2 active", "restart 1 active"]


def test_the_migration_works_on_what_the_upgrade_was_told(
    here: Installation, monkeypatch: pytest.MonkeyPatch
):
    """By the environment, which may hold the database's address, and by `--config`."""
    monkeypatch.setenv("NOVAPULSE__MONGO__URI", "mongodb://one")
    monkeypatch.setenv("NOVAPULSE_CONFIG", "/srv/two.toml")
    monkeypatch.setenv("REDIS_URL", "redis://three")
    monkeypatch.setenv("LD_PRELOAD", "")
    new = release(here.prefix, "2")
    apply(new, here, say=lambda _: None, config=Path("/srv/four.toml"))
    words, *variables = (new.directory / "told").read_text().splitlines()
    assert words == "migrate up --config /srv/four.toml"
    given = dict(line.split("=", 1) for line in variables)
    assert given["NOVAPULSE__MONGO__URI"] == "mongodb://one"
    assert given["NOVAPULSE_CONFIG"] == "/srv/two.toml"
    assert given["REDIS_URL"] == "redis://three"
    assert "LD_PRELOAD" not in given
