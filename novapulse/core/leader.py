"""The leader lease: one scheduler leads, whichever process or appliance it lives in.

The lease is a row that its owner renews by the database's clock. An owner that
is known to be gone (its supervisor says so) is replaced at once, a silent one
when the lease has run out.
"""

from novapulse.core.mongo import ClientSession, Database, Duplicate

LEASES = "leases"
LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0


class Leadership:
    def __init__(self, db: Database, owner: str, *, name: str = "scheduler") -> None:
        self._db = db
        self._rows = db.platform(LEASES)
        self._owner = owner
        self._name = name

    async def take(self, *, gone: tuple[str, ...] = ()) -> bool:
        """Take or renew the lease; whether we lead now. `gone` are owners known to be dead."""
        mine = [self._owner, *gone]
        is_free = {
            "$or": [
                {"$in": [{"$ifNull": ["$owner", self._owner]}, mine]},
                {"$lt": ["$until", "$$NOW"]},
            ]
        }
        until = {"$add": ["$$NOW", round(LEASE_SECONDS * 1000)]}
        change = {
            "owner": {"$cond": [is_free, self._owner, "$owner"]},
            "until": {"$cond": [is_free, until, "$until"]},
        }
        where = {"_id": self._name}
        try:
            row = await self._rows.find_and_update(where, [{"$set": change}], upsert=True)
        except Duplicate:  # two made the row at once; the other one was first
            return False
        return row is not None and row["owner"] == self._owner

    async def is_held(self, session: ClientSession) -> bool:
        """Whether we still lead, as a part of a transaction.

        The row is written, so whoever takes the lease meanwhile and this transaction can
        not both succeed: what it changes is changed by the one who leads.
        """
        where = {"_id": self._name, "owner": self._owner, "$expr": {"$gt": ["$until", "$$NOW"]}}
        until = {"$add": ["$$NOW", round(LEASE_SECONDS * 1000)]}
        rows = self._db.platform(LEASES, session)
        return bool(await rows.update_one(where, [{"$set": {"until": until}}]))

    async def holder(self) -> str | None:
        row = await self._rows.find_one({"_id": self._name})
        return None if row is None else str(row["owner"])

    async def give_up(self) -> None:
        """Let another one lead without waiting for the lease to run out."""
        await self._rows.delete_one({"_id": self._name, "owner": self._owner})
