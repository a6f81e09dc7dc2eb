"""Making and trying backups: the database's moment, what belongs to it, and what is noted."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from novapulse import __version__
from novapulse.backup.compare import require_equal
from novapulse.backup.dump import Head, Plan, Progress, write_backup
from novapulse.backup.examine import Examined, examine
from novapulse.backup.load import clear, finish, load
from novapulse.backup.model import (
    BackupCreated,
    BackupDrilled,
    BackupEvent,
    BackupRestored,
    BackupUnreadable,
    BackupVerified,
    Label,
    Manifest,
    NamedBackup,
)
from novapulse.backup.sealing import Lock
from novapulse.backup.shelf import Shelf, digest_of, partial_of, read_label
from novapulse.backup.store import BackupLog, Deed
from novapulse.core.access import SYSTEM
from novapulse.core.clock import system_clock
from novapulse.core.context import Context
from novapulse.core.errors import ConfigurationInvalid, Error, Unavailable
from novapulse.core.events import PLATFORM
from novapulse.core.ids import new_id
from novapulse.core.mongo import Database
from novapulse.core.refill import Refill
from novapulse.core.rights import acting_user
from novapulse.core.room import require_room
from novapulse.core.secretfiles import read_secret_file
from novapulse.core.settings import Loaded
from novapulse.core.snapshot import SnapshotLost, open_snapshot
from novapulse.processes import attach, places
from novapulse.processes.belongings import Belongings
from novapulse.processes.drill import Rehearsal, rehearse
from novapulse.processes.runtime import open_runtime
from novapulse.processes.scratch import Scratch, scratch
from novapulse.processes.transient import TRANSIENT
from novapulse.stores.layout import MongoRole

T = TypeVar("T")
LONG_SECONDS = 600.0
_TRIES = 3
# Of a backup, which is compressed: a database and its journal take some times as many.
_ROOM_EVERY_BYTES = 16 << 20
_GENTLE = 10
# Of units, by systemd: there for each while it runs, and for nobody else.
_CREDENTIALS = Path("/run/credentials")
_EVENTS: dict[Deed, type[BackupEvent]] = {
    Deed.CREATED: BackupCreated,
    Deed.VERIFIED: BackupVerified,
    Deed.DRILLED: BackupDrilled,
    Deed.RESTORED: BackupRestored,
}


@dataclass(frozen=True, slots=True)
class Made:
    """A new backup, and the names of those that had to go for it."""

    path: Path
    label: Label
    manifest: Manifest
    trimmed: list[str]


def passphrase(loaded: Loaded) -> bytes | None:
    """From the file that the settings name, if they do. Raises ConfigurationInvalid."""
    named = loaded.settings.backup.passphrase_file
    return read_passphrase(Path(named)) if named else None


def read_passphrase(file: Path) -> bytes:
    """Without the end of its line. Raises ConfigurationInvalid when it is not usable."""
    try:
        return read_secret_file(file).rstrip(b"\r\n")
    except FileNotFoundError as error:
        what, hint = f"There is no file {file}", ""
        if _CREDENTIALS in file.parents:
            unit = file.parent.name
            way = f"systemctl start {unit.removesuffix('.service')}, or --passphrase-file"
            hint = f"{unit} alone has it, from /etc/credstore: {way}"
        raise ConfigurationInvalid(what, where=str(file), hint=hint) from error


@dataclass(frozen=True, slots=True)
class Newest:
    name: str
    hours: float


def age_of_newest(loaded: Loaded, directory: Path | None = None) -> Newest | None:
    """The last backup of a directory, or of the configured one."""
    found = Shelf(directory or places.backup_directory(loaded)).backups()
    return Newest(found[0].name, _hours_since(found[0].created_at)) if found else None


def hours_since_drill(loaded: Loaded) -> float | None:
    """Since the last drill that went well, by the labels in the directory."""
    found = Shelf(places.backup_directory(loaded)).backups()
    drilled = [one.label.drilled_at for one in found if one.label and one.label.drilled_at]
    return _hours_since(max(drilled)) if drilled else None


def find(loaded: Loaded, name: str | None) -> Path:
    """A backup by its name or path; of None the newest. Raises NotFound, BackupUnreadable."""
    try:
        return Shelf(places.backup_directory(loaded)).find(name)
    except BackupUnreadable as error:
        user = acting_user()
        copy = f"install -o {user} -m 0600 FILE {loaded.paths.state}"
        error.hint = f"{user} reads it; this makes a copy for that user: {copy}"
        raise


def _hours_since(moment: datetime) -> float:
    return (system_clock() - moment).total_seconds() / 3600


def create(
    loaded: Loaded, *, directory: Path | None, secret: bytes | None, progress: Progress
) -> Made:
    """Write one backup to the directory, and trim that if it is the configured one.

    `secret` is the passphrase; without one the keys are left out.

    Raises Unavailable, StorageFull, AlreadyRunning, ConfigurationInvalid.
    """
    settings = loaded.settings.backup
    shelf = Shelf(directory or places.backup_directory(loaded))
    lock = Lock.new(secret) if secret is not None else None
    plan = Plan(
        left_out=TRANSIENT,
        lock=lock,
        is_encrypted=lock is not None and settings.encrypt == "all",
        progress=minding_room(shelf.directory, progress),
    )
    os.nice(_GENTLE)  # whoever works goes first
    with shelf.hold():
        require_room(shelf.directory)
        with attach.database(loaded):
            made = asyncio.run(_create(loaded, shelf, plan))
            trimmed = shelf.trim(settings.keep) if directory is None else []
    return Made(*made, trimmed)


async def _create(loaded: Loaded, shelf: Shelf, plan: Plan) -> tuple[Path, Label, Manifest]:
    made = await _again_after(SnapshotLost, lambda: _write(loaded, shelf, plan))
    path, label, _ = made
    await _again_after(Unavailable, lambda: note(loaded, Deed.CREATED, name=path.name, label=label))
    return made


async def _again_after(passing: type[Error], attempt: Callable[[], Awaitable[T]]) -> T:
    """What an attempt returns, of the few that are made."""
    for _ in range(_TRIES - 1):
        with suppress(passing):
            return await attempt()
    return await attempt()


async def _write(loaded: Loaded, shelf: Shelf, plan: Plan) -> tuple[Path, Label, Manifest]:
    belongings = Belongings(loaded)
    database = loaded.settings.mongo.database
    uri = places.mongo_uri(loaded, MongoRole.BACKUP)
    async with open_snapshot(uri, database) as snapshot:
        now = system_clock()
        head = Head(id=new_id("bkp"), created_at=now, program=__version__, database=database)
        with shelf.writing(now, is_encrypted=plan.is_encrypted) as (file, path):
            manifest = await write_backup(
                snapshot, file, head=head, companions=belongings.companions, plan=plan
            )
            file.flush()
            label = label_of(manifest, digest_of(partial_of(path)))
            shelf.place(file, path, label)
    return path, label, manifest


def label_of(manifest: Manifest, sha256: str) -> Label:
    return Label(
        id=manifest.id,
        created_at=manifest.created_at,
        program=manifest.program,
        schema_number=manifest.schema_number,
        documents=manifest.documents,
        secrets=manifest.secrets,
        sha256=sha256,
    )


def verify(loaded: Loaded, path: Path, *, secret: bytes | None, progress: Progress) -> Examined:
    """Read it through, load it into a database to throw away, and compare that with it.

    Raises BackupDamaged, WrongPassphrase, Unavailable, and StorageFull before the program
    gets too little room.
    """
    examined = examine(path, secret)
    with scratch(loaded, rows_bytes=examined.manifest.bytes) as place:
        asyncio.run(_try(place, examined, progress=progress))
    _mark(loaded, Deed.VERIFIED, examined)
    return examined


def drill(loaded: Loaded, path: Path, *, secret: bytes | None, progress: Progress) -> Rehearsal:
    """Verify it, and then use it: migrate, open everything that is sealed, walk the audit chains.

    Raises as `verify`; what does not open or fit is in the answer.
    """
    examined = examine(path, secret)
    with scratch(loaded, rows_bytes=examined.manifest.bytes) as place:

        async def use() -> Rehearsal:
            return await rehearse(loaded, place, examined)

        outcome = asyncio.run(_try(place, examined, progress=progress, use=use))
    assert outcome is not None  # noqa: S101 - what `use` returned
    if outcome.is_well:
        _mark(loaded, Deed.DRILLED, examined)
    return outcome


async def _try(
    place: Scratch,
    examined: Examined,
    *,
    progress: Progress,
    use: Callable[[], Awaitable[Rehearsal]] | None = None,
) -> Rehearsal | None:
    """Load the backup, compare, and do what `use` does with it; leaves nothing behind."""
    if place.layout is not None:
        progress = minding_room(place.directory, progress)
    async with open_refill(place.uri(MongoRole.RESTORE), place.database) as target:
        try:
            if place.layout is None:  # may hold what a killed predecessor left
                await clear(target)
            await load(target, examined, progress=progress)
            await require_equal(place.uri(MongoRole.BACKUP), place.database, examined.manifest)
            await finish(target)
            return await use() if use is not None else None
        finally:
            if place.layout is None:
                await clear(target)


@asynccontextmanager
async def open_refill(uri: str, database: str) -> AsyncIterator[Refill]:
    """A database to fill; its calls may take long."""
    db = Database(uri, database, timeout_seconds=LONG_SECONDS, max_pool_size=4)
    try:
        yield Refill(db)
    finally:
        await db.close()


def _mark(loaded: Loaded, deed: Deed, examined: Examined) -> None:
    """Beside the file, and in the database where that can be reached."""
    path, now = examined.path, system_clock()
    label = read_label(path) or label_of(examined.manifest, digest_of(path))
    label = msgspec.structs.replace(label, verified_at=now)
    if deed is Deed.DRILLED:
        label = msgspec.structs.replace(label, drilled_at=now)
    with suppress(OSError):  # a backup on a medium that can only be read
        Shelf(path.parent).write_label(path, label)
    with suppress(Error):
        asyncio.run(note(loaded, deed, name=path.name, label=label))


async def note(loaded: Loaded, deed: Deed, *, name: str, label: Label) -> None:
    """A line of the audit log, and the time for the metric. Raises Unavailable."""
    backup = NamedBackup(
        id=label.id,
        name=name,
        created_at=label.created_at,
        documents=label.documents,
        secrets=label.secrets,
    )
    async with open_runtime(loaded, role=MongoRole.API) as runtime:
        ctx = Context(runtime, SYSTEM, request_id=new_id("cli"), via="cli")
        async with ctx.transaction(company_id=PLATFORM) as tx:
            tx.record(_EVENTS[deed](backup=backup))
        if deed is not Deed.RESTORED:
            await BackupLog(runtime.db).note(deed, name)


def minding_room(directory: Path, progress: Progress) -> Progress:
    """It raises StorageFull once the directory's disk gets so full that changes are refused."""
    checked = 0

    def go_on(documents: int, size: int) -> None:
        nonlocal checked
        if size - checked > _ROOM_EVERY_BYTES:
            checked = size
            require_room(directory)
        progress(documents, size)

    return go_on
