"""The file of a backup: a tar of small members, plain or sealed as a whole.

Written and read from its begin to its end in bounded memory. Nothing is ever unpacked
by the names in it: members are read into memory, and only names of ours are taken.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from novapulse.backup.model import BackupDamaged
from novapulse.backup.sealing import MAGIC, Lock, OpeningFile, SealingFile
from novapulse.core.errors import Unavailable

LARGEST_MEMBER_BYTES = 64 << 20
_BUFFER_BYTES = 256 << 10
_NAME = re.compile(
    r"data/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}/[0-9]{6}\.bson\.gz"
    r"|config\.toml|secrets\.sealed|manifest\.json|seal\.json"
)


class ArchiveWriter:
    """Members one after another; `digests` are their SHA-256 so far."""

    def __init__(self, out: "BinaryIO | SealingFile") -> None:
        # Streaming, with the oldest format: every tar of the world reads it.
        self._tar = tarfile.open(  # noqa: SIM115 - closed by `close`
            fileobj=cast(IO[bytes], out),
            mode="w|",
            format=tarfile.USTAR_FORMAT,
            bufsize=_BUFFER_BYTES,
        )
        self.digests: dict[str, str] = {}
        self.size = 0

    def add(self, name: str, data: bytes) -> str:
        """Its SHA-256."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name} can not be a member of a backup")
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o600
        self._tar.addfile(member, io.BytesIO(data))
        self.digests[name] = hashlib.sha256(data).hexdigest()
        self.size += len(data)
        return self.digests[name]

    def close(self) -> None:
        self._tar.close()


@contextmanager
def open_writer(out: BinaryIO, lock: Lock | None) -> Iterator[ArchiveWriter]:
    """An archive into `out`, sealed as a whole when there is a lock; complete after the block."""
    sealing = SealingFile(out, lock) if lock is not None else None
    writer = ArchiveWriter(sealing or out)
    yield writer
    writer.close()
    if sealing is not None:
        sealing.close()


def read_members(path: Path, passphrase: bytes | None) -> Iterator[tuple[str, bytes]]:
    """Every member with its content.

    Raises:
        BackupDamaged: it is no backup of ours, or a member is not what ours are.
        WrongPassphrase: it is encrypted, and not by this one.
    """
    with _open(path) as file:
        source: BinaryIO | OpeningFile = file
        if is_sealed(file):
            source = OpeningFile(file, passphrase)
        try:
            # Of a file it asks only to be read on.
            plain = cast(IO[bytes], source)
            with tarfile.open(fileobj=plain, mode="r|", bufsize=_BUFFER_BYTES) as tar:
                for member in tar:
                    yield member.name, _content(tar, member)
        except (tarfile.TarError, EOFError, UnicodeDecodeError, ValueError, OverflowError) as error:
            raise BackupDamaged(f"{path.name} is damaged: {error}") from error


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise Unavailable(f"{path} can not be read: {error.strerror}") from error


def is_sealed(file: BinaryIO) -> bool:
    """Whether it is sealed as a whole; leaves the file at its begin."""
    head = file.read(len(MAGIC))
    file.seek(0)
    return head == MAGIC


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if not member.isreg() or not _NAME.fullmatch(member.name):
        raise BackupDamaged(f"The backup has a member that is none of ours: {member.name!r}")
    if member.size > LARGEST_MEMBER_BYTES:
        raise BackupDamaged(f"{member.name} is larger than any member of ours")
    reader = tar.extractfile(member)
    data = reader.read() if reader is not None else b""
    if len(data) != member.size:
        raise BackupDamaged(f"{member.name} is cut off")
    return data
