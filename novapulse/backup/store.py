"""What the database remembers of backups: when the last ones were made and tried."""

from enum import StrEnum

from novapulse.core.mongo import Database, Document

BACKUPS = "backups"
_ASKED = "asked"


class Deed(StrEnum):
    CREATED = "created"
    VERIFIED = "verified"
    DRILLED = "drilled"
    RESTORED = "restored"


class BackupLog:
    """One row for each deed, with the last time of it. Times are the database's."""

    def __init__(self, db: Database) -> None:
        self._rows = db.platform(BACKUPS)

    async def note(self, deed: Deed, name: str) -> None:
        change: Document = {"$set": {"at": "$$NOW", "name": {"$literal": name}}}
        await self._rows.find_and_update({"_id": str(deed)}, [change], upsert=True)

    async def ages(self) -> tuple[float, float]:
        """Seconds since a backup was made, and since one was verified or drilled.

        Where that never was: since this was asked for the first time.
        """
        age = {"$divide": [{"$subtract": ["$$NOW", "$at"]}, 1000]}
        rows = await self._rows.aggregate([{"$set": {"age": age}}])
        by_deed = {row["_id"]: float(row["age"]) for row in rows}
        if _ASKED not in by_deed:
            first = [{"$set": {"at": {"$ifNull": ["$at", "$$NOW"]}}}]
            await self._rows.find_and_update({"_id": _ASKED}, first, upsert=True)
        asked = by_deed.get(_ASKED, 0.0)
        tried = min(by_deed.get(deed, asked) for deed in (Deed.VERIFIED, Deed.DRILLED))
        return by_deed.get(Deed.CREATED, asked), tried
