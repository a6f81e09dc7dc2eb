"""A backup brings back every row, index and key, and is the same after a kill anywhere."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from novapulse.backup.examine import examine
from novapulse.backup.shelf import read_label
from novapulse.core.crypto import load_key_ring
from novapulse.core.migrate import RESTORING
from novapulse.processes import backups, places
from tests.support.backups import PASSPHRASE, TASKS, Installation, Installations

LEFT_OUT = {"sessions", "leases"}


def indexes(rows: Any) -> dict[str, Any]:
    return {
        name: rows[name].index_information()
        for name in rows.list_collection_names()
        if name in ("tasks", "empty", "report_files.chunks")
    }


def assert_is_restored(target: Installation, source: Installation) -> None:
    for name in ("tasks", "report_files.chunks", "schema"):
        query = source.rows[name].find(sort=[("_id", 1)])
        assert list(target.rows[name].find(sort=[("_id", 1)])) == list(query), name
    assert indexes(target.rows) == indexes(source.rows)
    assert not LEFT_OUT & set(target.counts)
    assert RESTORING not in target.counts
    keys = [load_key_ring(places.data_key_file(one.loaded())).ids for one in (target, source)]
    assert keys[0] == keys[1]


def test_everything_comes_back(target: Installation, source: Installation, made: Path):
    done = target.restore(made)
    assert done is not None
    assert_is_restored(target, source)
    assert {rows.name: rows.documents for rows in done.manifest.collections} == {
        name: number for name, number in source.counts.items() if name not in LEFT_OUT | NOTED
    }
    (line,) = target.rows.events.find()
    assert (line["type"], line["actor"]["via"]) == ("backup.restored", "cli")


# What is noted in the source once its backup is complete.
NOTED = {"events", "backups"}


def test_an_encrypted_backup_shows_nothing_and_comes_back(
    installations: Installations, source: Installation, target: Installation
):
    config = source.root / "config.toml"
    plain = config.read_text()
    config.write_text(plain + 'encrypt = "all"\n')
    try:
        made = source.create()
    finally:
        config.write_text(plain)
    assert made.name.endswith(".tar.enc")
    assert b"manifest" not in made.read_bytes()
    target.restore(made)
    assert_is_restored(target, source)


def test_the_configuration_comes_back_where_there_is_none(
    source: Installation, target: Installation, made: Path
):
    own = target.root / "config.toml"
    text = own.read_text()
    assert target.restore(made) is not None
    assert own.read_text() == text, "the target's own stays"
    examined = examine(made, PASSPHRASE.encode())
    assert examined.config == (source.root / "config.toml").read_text()
    shown = examine(made, None).config
    assert "mongodb://" not in shown
    assert "uri was left out" in shown


def test_other_keys_of_the_target_are_kept_beside(target: Installation, made: Path):
    path = places.data_key_file(target.loaded())
    former = load_key_ring(path).ids
    target.restore(made)
    (kept,) = path.parent.glob("data-keys.json.before-*")
    assert former[0] in kept.read_text()
    assert former[0] not in path.read_text()


def test_a_backup_can_be_looked_into_in_another_database(
    installations: Installations, source: Installation, made: Path
):
    name = installations.stores.database_name("looking")
    before = source.counts
    source.restore(made, database=name)
    assert installations.client[name].tasks.count_documents({}) == TASKS
    assert "events" not in installations.client[name].list_collection_names()
    assert source.counts == before


def test_verifying_marks_the_backup_and_leaves_no_trace(source: Installation, made: Path):
    before = set(source.client.list_database_names())
    backups.verify(source.loaded(), made, secret=PASSPHRASE.encode(), progress=lambda *_: None)
    label = read_label(made)
    assert label is not None
    assert label.verified_at is not None
    assert set(source.client.list_database_names()) == before
    assert not (source.root / "state" / "scratch").exists()
    assert source.rows.backups.find_one({"_id": "verified"})["name"] == made.name


# A process of its own that makes or restores a backup, and dies where it is told to.
CHILD = """\
import os, signal, sys
from pathlib import Path
from novapulse.core.settings import load
from novapulse.processes import backups, restoring

verb, root, path, place = sys.argv[1:]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

parts = 0

def progress(documents, size):
    global parts
    parts += 1
    if place.isdigit() and parts == int(place):
        die()

def read():
    return load(root=root, environ={})

if not place.isdigit():
    module, name = place.rsplit(".", 1)
    setattr(__import__("novapulse." + module, fromlist=["x"]), name, die)
if verb == "create":
    secret = backups.passphrase(read())
    backups.create(read(), directory=None, secret=secret, progress=progress)
else:
    wanted = restoring.Wanted(
        path=Path(path), passphrase=b"correct horse battery", database=None, without_keys=False
    )
    restoring.restore(read, wanted, agree=lambda deed: True, progress=progress)
"""


def kill_in(verb: str, one: Installation, path: Path, *, place: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, verb, one.root, path, place],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    "place",
    ["2", "processes.backups.note"],
)
def test_a_killed_backup_is_made_again(
    installations: Installations, source: Installation, place: str
):
    directory = source.root / "state" / "backups"
    before = {path.name for path in directory.iterdir()}
    kill_in("create", source, Path(), place=place)
    made = source.create()
    assert made.name not in before
    left = {path.name for path in directory.iterdir()} - before
    assert not [name for name in left if name.endswith(".partial")]
    assert examine(made, PASSPHRASE.encode()).manifest.documents >= TASKS


@pytest.mark.parametrize(
    "place",
    [
        "3",
        "processes.belongings.install_keys",
        "processes.restoring.finish",
    ],
)
def test_a_killed_restore_begins_anew_and_ends_well(
    target: Installation, source: Installation, made: Path, place: str
):
    kill_in("restore", target, made, place=place)
    assert target.rows[RESTORING].count_documents({}) == 1, "it is marked as incomplete"
    assert target.restore(made) is not None
    assert_is_restored(target, source)
    assert target.rows.events.count_documents({}) == 1


def test_what_was_written_of_a_backup_is_for_machines_too(made: Path):
    label = json.loads(made.with_name(made.name + ".json").read_text())
    assert label["sha256"] == backups.digest_of(made)
