"""Filling an empty database from a backup that was examined before.

A row in `restoring` marks the database as incomplete from the first change to the last:
the program does not start on it, and a repeat begins anew instead of finding data.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

from novapulse.backup.archive import read_members
from novapulse.backup.dump import Progress
from novapulse.backup.examine import Examined
from novapulse.backup.model import BackupDamaged, TargetNotEmpty
from novapulse.backup.rows import unpack
from novapulse.core.errors import Invalid
from novapulse.core.events import AUDIT_HEADS, EVENTS, PLATFORM
from novapulse.core.jobs.rows import JOBS
from novapulse.core.migrate import RESTORING, SCHEMA
from novapulse.core.refill import MARK_ROW, Refill
from novapulse.core.snapshot import Definition
from novapulse.core.tasks import end_all

_AT_ONCE = 3
# Its nightly backup, say, is a line of the audit log before anybody has an account, and the
# mail of an alert is a job.
_SHARED = (EVENTS, AUDIT_HEADS, JOBS)
_BY_ITSELF = {"companyId": PLATFORM}


async def require_empty(target: Refill, *, machinery: Collection[str]) -> None:
    """Raises TargetNotEmpty when there are rows in any collection but those of `machinery`.

    What an interrupted restore left does not count, nor what the machine did by itself.
    """
    if await target.has_rows(RESTORING):
        return
    for name in await target.names():
        if name == SCHEMA or name in machinery:
            continue
        if await target.has_rows(name, besides=_BY_ITSELF if name in _SHARED else None):
            raise TargetNotEmpty(f"There are rows in {name}: a backup goes into an empty database")


async def load(target: Refill, backup: Examined, *, progress: Progress) -> None:
    """Put the backup's rows into a database that `require_empty` let through.

    The mark stays until `finish`; when this fails, nothing is left.

    Raises BackupDamaged when the file was changed since it was examined.
    """
    if not await target.has_rows(RESTORING):
        await target.insert(RESTORING, [MARK_ROW])
    try:
        await _empty(target)
        definitions = [rows.definition for rows in backup.manifest.collections]
        await _few_at_once(target.create, definitions)
        await _insert(target, backup, progress)
        await _few_at_once(partial(_build_indexes, target), definitions)
    except BaseException:
        await clear(target)
        raise


async def finish(target: Refill) -> None:
    """All is there, and compared: the program may use it."""
    await target.drop(RESTORING)


async def clear(target: Refill) -> None:
    """Drop everything, the mark last."""
    await _empty(target)
    await target.drop(RESTORING)


async def _empty(target: Refill) -> None:
    for name in await target.names():
        if name != RESTORING:
            await target.drop(name)


async def _insert(target: Refill, backup: Examined, progress: Progress) -> None:
    parts = backup.manifest.parts
    documents, size = 0, 0
    for name, data in read_members(backup.path, backup.passphrase):
        if name not in parts:
            continue
        rows, part = parts.pop(name)
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise BackupDamaged(f"{name} was changed while it was read")
        await target.insert(rows.name, unpack(data, most=part.bytes))
        documents, size = documents + part.documents, size + len(data)
        progress(documents, size)
    if parts:
        raise BackupDamaged(f"{backup.path.name} was changed while it was read")


async def _few_at_once(
    work: Callable[[Definition], Awaitable[None]], definitions: Sequence[Definition]
) -> None:
    """Each one waits for the journal, so together they are quicker; the server takes a few."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(definition: Definition) -> None:
        async with room:
            await work(definition)

    tasks = [asyncio.create_task(one(definition)) for definition in definitions]
    try:
        await asyncio.gather(*tasks)
    finally:
        await end_all(tasks)


async def _build_indexes(target: Refill, definition: Definition) -> None:
    try:
        await target.build_indexes(definition)
    except Invalid as error:
        raise BackupDamaged(error.detail) from error
