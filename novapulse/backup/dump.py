"""Writing a backup: one moment of the database, what opens it, and the manifest at its end."""

import base64
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

import msgspec

from novapulse.backup.archive import ArchiveWriter, open_writer
from novapulse.backup.model import CONFIG, FORMAT, MANIFEST, SEAL, SECRETS, Manifest, Rows
from novapulse.backup.rows import Packer
from novapulse.backup.sealing import Lock
from novapulse.core.snapshot import Snapshot

# Called with the documents and the bytes so far.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """What the manifest says besides what is found while writing."""

    id: str
    created_at: datetime
    program: str
    database: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Companions:
    """What goes with the data: key files by their names, and the configuration.

    `shown_config` is without passwords, for backups that have no lock.
    """

    keys: Mapping[str, bytes]
    key_ids: tuple[str, ...]
    config: str
    shown_config: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How to write: what is left out, by which lock, and whether that closes everything."""

    left_out: Collection[str]
    lock: Lock | None
    is_encrypted: bool
    progress: Progress


async def write_backup(
    snapshot: Snapshot,
    out: BinaryIO,
    *,
    head: Head,
    companions: Callable[[], Companions],
    plan: Plan,
) -> Manifest:
    """Everything of the moment into `out`; the companions are read once the moment is fixed.

    Raises Unavailable, SnapshotLost among them, and StorageFull from `plan.progress`.
    """
    along = companions()
    collections: list[Rows] = []
    with open_writer(out, plan.lock if plan.is_encrypted else None) as archive:
        written = 0
        for definition in await snapshot.definitions():
            if definition.name in plan.left_out:
                continue
            packer = Packer(archive, definition)
            async for rows in snapshot.batches(definition.name):
                packer.add(rows)
                written += len(rows)
                plan.progress(written, archive.size)
            collections.append(packer.finish())
        _add_companions(archive, along, plan.lock)
        manifest = Manifest(
            format=FORMAT,
            id=head.id,
            created_at=head.created_at,
            program=head.program,
            schema_number=await snapshot.count_schema(),
            mongodb=await snapshot.version(),
            database=head.database,
            moment=snapshot.moment,
            collections=collections,
            left_out=sorted(plan.left_out),
            members=dict(archive.digests),
            secrets="left out" if plan.lock is None else "sealed",
            key_ids=list(along.key_ids),
        )
        _finish(archive, manifest, plan.lock)
    return manifest


def _add_companions(archive: ArchiveWriter, along: Companions, lock: Lock | None) -> None:
    archive.add(CONFIG, along.shown_config.encode())
    if lock is not None:
        keys = {name: base64.b64encode(data).decode() for name, data in along.keys.items()}
        bundle = json.dumps({"keys": keys, "config": along.config}).encode()
        archive.add(SECRETS, lock.seal(bundle, SECRETS))


def _finish(archive: ArchiveWriter, manifest: Manifest, lock: Lock | None) -> None:
    text = msgspec.json.encode(manifest)
    archive.add(MANIFEST, text)
    if lock is not None:
        seal = {"recipe": msgspec.to_builtins(lock.recipe), "mac": lock.sign(text, MANIFEST)}
        archive.add(SEAL, msgspec.json.encode(seal))
