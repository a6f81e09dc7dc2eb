"""`backup restore`: a backup into an empty installation, or into an empty database beside it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from novapulse.backup.compare import require_equal
from novapulse.backup.dump import Progress
from novapulse.backup.examine import Examined, examine
from novapulse.backup.load import finish, load, require_empty
from novapulse.backup.model import Manifest, TargetNotEmpty
from novapulse.backup.store import Deed
from novapulse.core.clock import rfc3339
from novapulse.core.errors import Invalid
from novapulse.core.migrate import SchemaTooNew
from novapulse.core.settings import Loaded
from novapulse.core.settings.stores import check_database
from novapulse.migrations.order import MIGRATIONS
from novapulse.processes import attach, belongings, places
from novapulse.processes.backups import label_of, minding_room, note, open_refill
from novapulse.processes.transient import MACHINERY
from novapulse.stores.layout import MongoRole


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What to restore; `database` names one to look into, else it is the installation's."""

    path: Path
    passphrase: bytes | None
    database: str | None
    without_keys: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    manifest: Manifest
    database: str
    config_written: bool
    keys_written: bool


# Asked once all has been looked at, with what is about to be done.
Agree = Callable[[str], bool]


def restore(
    read: Callable[[], Loaded], wanted: Wanted, *, agree: Agree, progress: Progress
) -> Restored | None:
    """Fill an empty database from a backup; None when `agree` said no, and nothing was changed.

    `read` is asked again after a configuration was put in place.

    Raises:
        BackupDamaged, WrongPassphrase: the target was not touched.
        TargetNotEmpty, AlreadyRunning, KeysGone, SchemaTooNew: ″.
    """
    examined = examine(wanted.path, wanted.passphrase)
    _require_known_schema(examined.manifest)
    if wanted.database is not None:
        return _restore_beside(read(), wanted, examined=examined, agree=agree, progress=progress)
    loaded = read()
    if examined.keys is None and not wanted.without_keys:
        belongings.require_keys(loaded, examined.manifest.key_ids, where=str(wanted.path))
    if not attach.has_data(loaded):  # asked before there is even a directory
        return _restore_here(read, examined, progress) if agree(_deed(loaded, examined)) else None
    with attach.alone(loaded):
        with attach.database_of_our_own(loaded):
            asyncio.run(_require_empty(places.mongo_uri(loaded, MongoRole.MIGRATE), loaded))
        is_agreed = agree(_deed(loaded, examined))
    return _restore_here(read, examined, progress) if is_agreed else None


def _restore_here(read: Callable[[], Loaded], examined: Examined, progress: Progress) -> Restored:
    with (
        attach.alone(read()),
        _configuration(read, examined) as (loaded, is_written),
        attach.database_of_our_own(loaded),
    ):
        asyncio.run(_fill_installation(loaded, examined, progress))
    return Restored(
        manifest=examined.manifest,
        database=loaded.settings.mongo.database,
        config_written=is_written,
        keys_written=examined.keys is not None,
    )


@contextmanager
def _configuration(read: Callable[[], Loaded], examined: Examined) -> Iterator[tuple[Loaded, bool]]:
    """The settings with the backup's configuration, where there was none; gone when we fail."""
    path = read().paths.config_file
    is_written = belongings.install_config(path, examined.config)
    try:
        yield read(), is_written
    except BaseException:
        if is_written:
            path.unlink(missing_ok=True)
        raise


async def _fill_installation(loaded: Loaded, examined: Examined, progress: Progress) -> None:
    """The mark in the database goes last: until then the program does not start on it."""
    database = loaded.settings.mongo.database
    async with open_refill(places.mongo_uri(loaded, MongoRole.MIGRATE), database) as target:
        await require_empty(target, machinery=MACHINERY)
        await load(target, examined, progress=progress)
        uri = places.mongo_uri(loaded, MongoRole.BACKUP)
        await require_equal(uri, database, examined.manifest)
        belongings.install_keys(loaded, examined.keys or {})
        label = label_of(examined.manifest, "")
        await note(loaded, Deed.RESTORED, name=examined.path.name, label=label)
        await finish(target)


def _restore_beside(
    loaded: Loaded, wanted: Wanted, *, examined: Examined, agree: Agree, progress: Progress
) -> Restored | None:
    database = _other_database(loaded, wanted.database or "")
    with attach.database(loaded):
        uri = places.mongo_uri(loaded, MongoRole.RESTORE)
        asyncio.run(_require_empty(uri, loaded, database))
        if not agree(_deed(loaded, examined, database)):
            return None
        if loaded.settings.mongo.is_embedded:  # whose other database is in use meanwhile
            progress = minding_room(loaded.paths.state, progress)
        asyncio.run(_fill_beside(loaded, database, examined=examined, progress=progress))
    return Restored(
        manifest=examined.manifest, database=database, config_written=False, keys_written=False
    )


async def _fill_beside(
    loaded: Loaded, database: str, *, examined: Examined, progress: Progress
) -> None:
    async with open_refill(places.mongo_uri(loaded, MongoRole.RESTORE), database) as target:
        await require_empty(target, machinery=())
        await load(target, examined, progress=progress)
        uri = places.mongo_uri(loaded, MongoRole.BACKUP)
        await require_equal(uri, database, examined.manifest)
        await finish(target)


async def _require_empty(uri: str, loaded: Loaded, database: str | None = None) -> None:
    async with open_refill(uri, database or loaded.settings.mongo.database) as target:
        try:
            await require_empty(target, machinery=() if database else MACHINERY)
        except TargetNotEmpty as error:
            error.hint = _way_on(loaded, database)
            raise


def _way_on(loaded: Loaded, database: str | None) -> str:
    if database is not None:
        return "name another database"
    if not loaded.settings.mongo.is_embedded:
        return "name an empty database as mongo.database"
    data = places.layout(loaded).mongod_data
    return f"another --root; or, when nobody needs what is here: mv {data} {data}.before"


def _require_known_schema(manifest: Manifest) -> None:
    known = MIGRATIONS[-1].number if MIGRATIONS else 0
    if manifest.schema_number > known:
        raise SchemaTooNew(
            f"The backup has schema {manifest.schema_number}, this program knows {known} at most",
            where=f"made by NovaPulse {manifest.program}",
            hint="restore it with that program, or a newer one",
        )


def _other_database(loaded: Loaded, name: str) -> str:
    try:
        check_database(name)
    except ValueError as error:
        raise Invalid(f"{name!r} can not be the name of a database: {error}") from None
    if name == loaded.settings.mongo.database:
        raise Invalid(f"{name} is the database of this installation: leave --database out")
    return name


def _deed(loaded: Loaded, examined: Examined, database: str | None = None) -> str:
    manifest = examined.manifest
    made = rfc3339(manifest.created_at)
    where = f"the database {database}" if database else str(loaded.paths.state)
    if not loaded.settings.mongo.is_embedded:
        where = f"the database {database or loaded.settings.mongo.database} of mongo.uri"
    return f"restore {manifest.documents} documents of {made} into {where}"
