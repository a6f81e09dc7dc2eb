"""A database against the manifest of the backup that it was filled from."""

from novapulse.backup.model import BackupDamaged, Manifest
from novapulse.backup.rows import Tally
from novapulse.core.migrate import RESTORING
from novapulse.core.snapshot import open_snapshot


async def require_equal(uri: str, database: str, manifest: Manifest) -> None:
    """Raises BackupDamaged unless there are just the manifest's collections and rows."""
    async with open_snapshot(uri, database) as snapshot:
        names = {definition.name for definition in await snapshot.definitions()} - {RESTORING}
        wanted = {rows.name for rows in manifest.collections}
        if names != wanted:
            raise BackupDamaged(f"Restored are other collections: {sorted(names ^ wanted)}")
        for rows in manifest.collections:
            tally = Tally()
            async for batch in snapshot.batches(rows.name):
                tally.take(batch)
            if not tally.matches(rows):
                raise BackupDamaged(
                    f"Restored are other rows of {rows.name}: "
                    f"{tally.documents} instead of {rows.documents}, or changed ones"
                )
