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
    disk.free = 6 * GIB
    told = r"6\.0 GiB are free, and 5\.0 GiB of them stay free"
    with pytest.raises(StorageFull, match=told) as caught:
        trial(source.loaded(), made, secret=PASSPHRASE.encode(), progress=pytest.fail)
    assert exit_code_of(caught.value) == UNAVAILABLE
    assert not (source.root / "state" / "scratch").exists()


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
