"""The leader lease: one scheduler leads, whichever process or appliance it lives in.

The lease is a row that its owner renews by the database's clock. An owner that
is known to be gone (its supervisor says so) is replaced at once, a silent one
when the lease has run out.
"""

from novapulse.core.mongo import Database, Document, Duplicate

LEASES = "leases"
LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0


class Leadership:
    def __init__(self, db: Database, owner: str, *, name: str = "scheduler") -> None:
        self._rows = db.platform(LEASES)
        self._owner = owner
        self._name = name

    async def take(self, *, gone: tuple[str, ...] = ()) -> bool:
        """Take or renew the lease; whether we lead now. `gone` are owners known to be dead."""
        lapsed: Document = {"$expr": {"$lt": ["$until", "$$NOW"]}}
        mine: Document = {"owner": {"$in": [self._owner, *gone]}}
        until = {"$add": ["$$NOW", round(LEASE_SECONDS * 1000)]}
        try:
            row = await self._rows.find_and_update(
                {"_id": self._name, "$or": [mine, lapsed]},
                [{"$set": {"owner": self._owner, "until": until}}],
                upsert=True,
            )
        except Duplicate:  # the row is there and somebody else's
            return False
        return row is not None

    async def holder(self) -> str | None:
        row = await self._rows.find_one({"_id": self._name})
        return None if row is None else str(row["owner"])

    async def give_up(self) -> None:
        """Let another one lead without waiting for the lease to run out."""
        await self._rows.delete_one({"_id": self._name, "owner": self._owner})
