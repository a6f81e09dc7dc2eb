"""The directory of backups: their files, the labels beside them, and which of them stay.

A file gets its name when it is complete and on the disk; whatever has another name is
not a backup. One writer at a time holds the directory.
"""

import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from novapulse.backup.model import Backup, BackupUnreadable, Label
from novapulse.core.errors import AlreadyRunning, NotFound, Unavailable

_NAME = re.compile(r"novapulse-(\d{8}T\d{6}Z)(-\d+)?\.(tar\.enc|tar)")
_STAMP = "%Y%m%dT%H%M%SZ"
_PARTIAL = ".partial"
_LABEL = ".json"
_LOCK = ".lock"


class Shelf:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def backups(self) -> list[Backup]:
        """All that are complete, the newest first. Raises Unavailable."""
        try:
            names = [path.name for path in self.directory.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Unavailable(f"{self.directory} can not be read: {error.strerror}") from error
        found = [self._backup(name) for name in names if _NAME.fullmatch(name)]
        return sorted(found, key=lambda one: (one.created_at, one.name), reverse=True)

    def newest(self) -> Backup:
        """Raises NotFound."""
        found = self.backups()
        if not found:
            raise NotFound(f"There is no backup in {self.directory}")
        return found[0]

    def find(self, name: str | None) -> Path:
        """The file of a name of this directory or of a path; of None the newest.

        Raises NotFound, or BackupUnreadable when it can not even be looked for.
        """
        if name is None:
            return self.directory / self.newest().name
        for path in (self.directory / name, Path(name)):
            if _is_file(path):
                return path.absolute()
        raise NotFound(f"There is no backup {name}, neither in {self.directory} nor as a path")

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only one who writes here; what an earlier one left unfinished is removed.

        Raises AlreadyRunning, or Unavailable when the directory can not be made.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(
                self.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            text = f"{self.directory} can not be written: {error.strerror}"
            raise Unavailable(text) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AlreadyRunning("Somebody else is making a backup there") from error
            self._tidy()
            yield
        finally:
            os.close(descriptor)

    def _tidy(self) -> None:
        names = {path.name for path in self.directory.iterdir()}
        for name in names:
            ours = _NAME.match(name)
            rest = name[ours.end() :] if ours else ""
            is_orphan = rest == _LABEL and name.removesuffix(_LABEL) not in names
            if rest in (_PARTIAL, _LABEL + _PARTIAL) or is_orphan:
                (self.directory / name).unlink(missing_ok=True)

    @contextmanager
    def writing(self, at: datetime, *, is_encrypted: bool) -> Iterator[tuple[BinaryIO, Path]]:
        """A file to fill and the path that `place` gives it; without that it is gone afterwards."""
        path = self._free(at, "tar.enc" if is_encrypted else "tar")
        partial = partial_of(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with open(os.open(partial, flags, 0o600), "w+b") as file:
                yield file, path
        finally:
            partial.unlink(missing_ok=True)

    def place(self, file: BinaryIO, path: Path, label: Label) -> None:
        """Put the file's content on the disk, then give it its name."""
        file.flush()
        os.fsync(file.fileno())
        self.write_label(path, label)
        partial_of(path).rename(path)
        _sync(self.directory)

    def write_label(self, path: Path, label: Label) -> None:
        """Beside the file, whole or not at all."""
        beside = _label_path(path)
        partial = partial_of(beside)
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(label)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        partial.rename(beside)

    def trim(self, keep: int) -> list[str]:
        """Remove all but the newest `keep` and the newest that was verified; their names."""
        found = self.backups()
        verified = [one for one in found if one.label and one.label.verified_at]
        kept = {one.name for one in (*found[:keep], *verified[:1])}
        gone = [one.name for one in found if one.name not in kept]
        for name in gone:
            (self.directory / name).unlink(missing_ok=True)
            _label_path(self.directory / name).unlink(missing_ok=True)
        return gone

    def _free(self, at: datetime, suffix: str) -> Path:
        stem, number = f"novapulse-{at.astimezone(UTC).strftime(_STAMP)}", 1
        while True:
            name = f"{stem}.{suffix}" if number == 1 else f"{stem}-{number}.{suffix}"
            if not (self.directory / name).exists():
                return self.directory / name
            number += 1

    def _backup(self, name: str) -> Backup:
        match = _NAME.fullmatch(name)
        stamp = match[1] if match else ""
        path = self.directory / name
        return Backup(
            name=name,
            created_at=datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC),
            bytes=path.stat().st_size,
            is_encrypted=name.endswith(".enc"),
            label=read_label(path),
        )


def _is_file(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        path.open("rb").close()
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise BackupUnreadable(f"{path.absolute()} can not be read: {error.strerror}") from error


def read_label(path: Path) -> Label | None:
    """What is written beside the file, if that is readable."""
    try:
        return msgspec.json.decode(_label_path(path).read_bytes(), type=Label)
    except (OSError, msgspec.DecodeError):
        return None


def partial_of(path: Path) -> Path:
    """Where a file is until it is complete."""
    return path.with_name(path.name + _PARTIAL)


def digest_of(path: Path) -> str:
    """The file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _label_path(path: Path) -> Path:
    return path.with_name(path.name + _LABEL)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
