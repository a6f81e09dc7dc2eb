"""The directory of backups: what counts as one, what is removed, and who may write."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from novapulse.backup.model import Label
from novapulse.backup.shelf import Shelf, read_label
from novapulse.core.errors import AlreadyRunning, NotFound

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def label(at: datetime, *, verified: bool = False) -> Label:
    return Label(
        id="bkp_1",
        created_at=at,
        program="0.1.0",
        schema_number=1,
        documents=7,
        secrets="sealed",
        sha256="",
        verified_at=at if verified else None,
    )


def put(shelf: Shelf, at: datetime, *, verified: bool = False, encrypted: bool = False) -> Path:
    with shelf.writing(at, is_encrypted=encrypted) as (file, path):
        file.write(b"content")
        shelf.place(file, path, label(at, verified=verified))
    return path


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def names(shelf: Shelf) -> list[str]:
    return [one.name for one in shelf.backups()]


def test_the_newest_comes_first_and_two_of_one_second_are_two(shelf: Shelf):
    for hours in (1, 0, 2, 2):
        put(shelf, NOON + timedelta(hours=hours), encrypted=hours == 0)
    assert names(shelf) == [
        "novapulse-20261123T140000Z.tar",
        "novapulse-20261123T140000Z-2.tar",
        "novapulse-20261123T130000Z.tar",
        "novapulse-20261123T120000Z.tar.enc",
    ]
    assert [one.is_encrypted for one in shelf.backups()] == [False, False, False, True]
    assert shelf.newest().label == label(NOON + timedelta(hours=2))


def test_what_is_not_complete_or_not_ours_is_no_backup(shelf: Shelf, tmp_path: Path):
    (tmp_path / "novapulse-20261123T140000Z.tar.partial").touch()
    (tmp_path / "notes.txt").touch()
    assert names(shelf) == []
    assert Shelf(tmp_path / "missing").backups() == []
    with pytest.raises(NotFound):
        shelf.newest()


def test_a_backup_that_fails_leaves_nothing(shelf: Shelf, tmp_path: Path):
    def fill_up() -> None:
        with shelf.writing(NOON, is_encrypted=False) as (file, _):
            file.write(b"half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fill_up()
    assert list(tmp_path.iterdir()) == []


def test_the_next_writer_removes_what_a_killed_one_left(shelf: Shelf, tmp_path: Path):
    kept = put(shelf, NOON)
    for name in (
        "novapulse-20261123T140000Z.tar.partial",
        "novapulse-20261123T150000Z.tar.json",
        "novapulse-20261123T120000Z.tar.json.partial",
    ):
        (tmp_path / name).touch()
    (tmp_path / "notes.json").touch()
    with shelf.hold():
        pass
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".lock", "notes.json", kept.name, f"{kept.name}.json"}


def test_one_writes_at_a_time(shelf: Shelf):
    with shelf.hold(), pytest.raises(AlreadyRunning), shelf.hold():
        pass
    with shelf.hold():
        pass


def test_trimming_keeps_the_newest_and_the_newest_that_was_verified(shelf: Shelf):
    days = [NOON - timedelta(days=day) for day in range(6)]
    paths = [put(shelf, at, verified=number in (3, 5)) for number, at in enumerate(days)]
    gone = shelf.trim(2)
    assert gone == [paths[number].name for number in (2, 4, 5)]
    assert names(shelf) == [paths[number].name for number in (0, 1, 3)]
    assert read_label(paths[4]) is None


def test_a_backup_is_found_by_name_by_path_and_as_the_newest(shelf: Shelf, tmp_path: Path):
    path = put(shelf, NOON)
    other = tmp_path / "elsewhere" / "mine.tar"
    other.parent.mkdir()
    other.touch()
    assert shelf.find(None) == shelf.find(path.name) == shelf.find(str(path)) == path
    assert shelf.find(str(other)) == other
    with pytest.raises(NotFound):
        shelf.find("mine.tar")


def test_a_damaged_label_is_none(shelf: Shelf, tmp_path: Path):
    path = put(shelf, NOON)
    (tmp_path / f"{path.name}.json").write_text("{")
    assert shelf.newest().label is None
