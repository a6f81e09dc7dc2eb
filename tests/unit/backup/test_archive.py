"""The file of a backup: what comes out of it is what went in, and nothing else goes in."""

import gzip
import io
import tarfile
import zlib
from pathlib import Path

import pytest

from novapulse.backup.archive import open_writer, read_members
from novapulse.backup.model import BackupDamaged
from novapulse.backup.rows import Tally, unpack

PART = "data/tasks/000001.bson.gz"


def written(path: Path, *members: tarfile.TarInfo, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]  # the mode is one
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def member(name: str, *, size: int = 3, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.size, one.type = size, kind
    one.linkname = "/etc/passwd"
    return one


def test_members_come_out_as_they_went_in(tmp_path: Path):
    path = tmp_path / "a.tar"
    with path.open("wb") as file, open_writer(file, None) as archive:
        archive.add(PART, b"x" * 100_000)
        archive.add("manifest.json", b"{}")
    assert list(read_members(path, None)) == [(PART, b"x" * 100_000), ("manifest.json", b"{}")]
    with tarfile.open(path) as tar:
        assert tar.getnames() == [PART, "manifest.json"]


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/cron.d/x",
        "data/../000001.bson.gz",
        "data/tasks/../../x",
        "/etc/passwd",
        "data/tasks/1.bson.gz",
        "data/.tasks/000001.bson.gz",
        "manifest.json/x",
        "other",
        "data/tasks/000001.bson.gz\n",
    ],
)
def test_a_name_that_is_none_of_ours_is_refused(tmp_path: Path, name: str):
    path = written(tmp_path / "a.tar", member(PART), member(name))
    with pytest.raises(BackupDamaged):
        list(read_members(path, None))
    with pytest.raises(ValueError, match="member"), open_writer(io.BytesIO(), None) as archive:
        archive.add(name, b"")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_a_member_that_is_no_file_is_refused(tmp_path: Path, kind: bytes):
    path = written(tmp_path / "a.tar", member(PART, size=0, kind=kind))
    with pytest.raises(BackupDamaged):
        list(read_members(path, None))


def test_a_member_larger_than_ours_is_not_read(tmp_path: Path):
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(member(PART, size=1 << 40).tobuf(tarfile.GNU_FORMAT))
        file.truncate(1 << 30)
    with pytest.raises(BackupDamaged, match="larger"):
        list(read_members(path, None))


@pytest.mark.parametrize("content", [b"", b"no tar at all", b"\0" * 2_000, b"\x1f\x8b" * 600])
def test_what_is_no_archive_has_no_members_or_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    try:
        assert list(read_members(path, None)) == []
    except BackupDamaged:
        pass


def test_a_part_does_not_unpack_to_more_than_it_says():
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(bytes(10_000_000)) + packer.flush()
    with pytest.raises(BackupDamaged, match="larger"):
        unpack(bomb, most=1_000)


@pytest.mark.parametrize(
    "rows", [b"\x05\0\0\0\0\x05\0\0\0", b"\x04\0\0\0", b"\xff" * 9, b"abcd" * 3]
)
def test_what_is_no_run_of_rows_is_refused(rows: bytes):
    with pytest.raises(BackupDamaged):
        unpack(gzip.compress(rows), most=100)


def test_a_tally_does_not_depend_on_the_order_but_on_every_row():
    rows = [b"\x05\0\0\0\0", b"\x06\0\0\0\1\0", b"\x05\0\0\0\0"]
    one, other, third = Tally(), Tally(), Tally()
    one.take(rows)
    other.take(reversed(rows))
    third.take(rows[:2])
    assert one.digest == other.digest != third.digest
    assert (one.documents, one.bytes) == (3, 16)
