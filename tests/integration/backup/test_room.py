"""Trying a backup takes room on the program's own disk, and never what the program works in."""

import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from novapulse.backup.shelf import read_label
from novapulse.core.errors import StorageFull
from novapulse.core.exitcodes import UNAVAILABLE, exit_code_of
from novapulse.processes import backups
from novapulse.processes.scratch import scratch
from tests.support.backups import PASSPHRASE, Installation

GIB = 1 << 30
Usage = namedtuple("Usage", "total used free")


class Disk:
    """Of 100 GiB, of which 5 stay free."""

    free = 50 * GIB

    def usage(self, _path: Path) -> Usage:
        return Usage(100 * GIB, 100 * GIB - self.free, self.free)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    one = Disk()
    monkeypatch.setattr(shutil, "disk_usage", one.usage)
    return one


Trial = Callable[..., object]
trials = pytest.mark.parametrize("trial", [backups.verify, backups.drill])


@trials
def test_a_trial_without_room_for_the_rows_and_for_mongod_does_not_begin(
    source: Installation, made: Path, disk: Disk, trial: Trial
):
    disk.free = 5 * GIB + GIB // 4
    told = r"takes up to 0\.4 GiB, 5\.2 GiB are free, and 5\.0 GiB of them stay free"
    with pytest.raises(StorageFull, match=told) as caught:
        trial(source.loaded(), made, secret=PASSPHRASE.encode(), progress=pytest.fail)
    assert exit_code_of(caught.value) == UNAVAILABLE
    assert not (source.root / "state" / "scratch").exists()


def test_a_small_backup_is_tried_on_a_small_server(source: Installation, made: Path, disk: Disk):
    disk.free = 5 * GIB + GIB // 2
    secret = PASSPHRASE.encode()
    tried = backups.verify(source.loaded(), made, secret=secret, progress=lambda *_: None)
    assert tried.manifest.documents > 0


def test_a_trial_s_oplog_takes_no_more_than_it_may_hold(source: Installation, disk: Disk):
    """Four GiB of rows take five, the oplog one, and an empty mongod 0.4."""
    disk.free = 6 * GIB
    with (
        pytest.raises(StorageFull, match=r"takes up to 6\.4 GiB"),
        scratch(source.loaded(), rows_bytes=4 * GIB),
    ):
        pytest.fail("it began")


@trials
def test_a_trial_ends_when_the_disk_fills_up_and_leaves_its_room_to_others(
    source: Installation, made: Path, disk: Disk, trial: Trial, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(backups, "_ROOM_EVERY_BYTES", 0)
    label, parts = read_label(made), []

    def fill(documents: int, _size: int) -> None:
        parts.append(documents)
        disk.free = 4 * GIB

    with pytest.raises(StorageFull, match="nearly full"):
        trial(source.loaded(), made, secret=PASSPHRASE.encode(), progress=fill)
    assert len(parts) == 1
    assert not (source.root / "state" / "scratch").exists()
    assert read_label(made) == label
