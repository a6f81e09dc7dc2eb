"""What a backup is: its manifest, what is known of it without opening it, events and errors."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from novapulse.core.errors import Conflict, Malformed, Unavailable
from novapulse.core.events import Event, event
from novapulse.core.snapshot import Definition, Moment

FORMAT = 1
MANIFEST = "manifest.json"
SEAL = "seal.json"
SECRETS = "secrets.sealed"
CONFIG = "config.toml"

Secrets = Literal["sealed", "left out"]


class BackupDamaged(Malformed):
    """It is not what was written: cut off, changed, or never one of ours."""

    code = "backup_damaged"
    title = "The backup can not be used"


class BackupUnreadable(Unavailable):
    """Its file is there, and closed to us."""

    title = "The backup can not be read"
    hint = ""


class WrongPassphrase(BackupDamaged):
    code = "wrong_passphrase"
    title = "The passphrase does not open this backup"


class TargetNotEmpty(Conflict):
    code = "target_not_empty"
    title = "There is data where the backup should go"
    hint = ""


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A member of the archive with some rows of one collection, compressed."""

    name: str
    documents: int
    bytes: int
    sha256: str


class Rows(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One collection; `digest` is the sum of its rows' SHA-256, so their order is of no matter."""

    name: str
    options: dict[str, Any]
    indexes: list[dict[str, Any]]
    documents: int
    bytes: int
    digest: str
    parts: list[Part]

    @property
    def definition(self) -> Definition:
        return Definition(name=self.name, options=self.options, indexes=self.indexes)


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The last but one member; `members` are the SHA-256 of all before it."""

    format: int
    id: str
    created_at: datetime
    program: str
    schema_number: int
    mongodb: str
    database: str
    moment: Moment
    collections: list[Rows]
    left_out: list[str]
    members: dict[str, str]
    secrets: Secrets
    key_ids: list[str]

    @property
    def documents(self) -> int:
        return sum(rows.documents for rows in self.collections)

    @property
    def bytes(self) -> int:
        """Of all rows, as they are before anything is compressed."""
        return sum(rows.bytes for rows in self.collections)

    @property
    def parts(self) -> dict[str, tuple[Rows, Part]]:
        return {part.name: (rows, part) for rows in self.collections for part in rows.parts}


class Label(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is written beside a backup: for lists, and to know what was verified."""

    id: str
    created_at: datetime
    program: str
    schema_number: int
    documents: int
    secrets: Secrets
    sha256: str
    verified_at: datetime | None = None
    drilled_at: datetime | None = None


class Backup(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A file of the directory; without its label nothing but name, time and size is known."""

    name: str
    created_at: datetime
    bytes: int
    is_encrypted: bool
    label: Label | None


class NamedBackup(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """As events know it."""

    id: str
    name: str
    created_at: datetime
    documents: int
    secrets: Secrets


class BackupEvent(Event, frozen=True, kw_only=True):
    backup: NamedBackup


@event("backup.created", is_public=False)
class BackupCreated(BackupEvent, frozen=True, kw_only=True):
    pass


@event("backup.verified", is_public=False)
class BackupVerified(BackupEvent, frozen=True, kw_only=True):
    pass


@event("backup.drilled", is_public=False)
class BackupDrilled(BackupEvent, frozen=True, kw_only=True):
    pass


@event("backup.restored", is_public=False)
class BackupRestored(BackupEvent, frozen=True, kw_only=True):
    pass
