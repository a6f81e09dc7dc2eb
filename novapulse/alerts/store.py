"""The alerts that fire: one row each, so that one mail is sent for it whoever leads."""

from novapulse.alerts.model import Alert
from novapulse.core.access import Role
from novapulse.core.context import Transaction
from novapulse.core.documents import from_document, to_document
from novapulse.core.mongo import Database
from novapulse.identity.store import USERS

ALERTS = "alerts"
_MANY = 200
_MOST_RECIPIENTS = 50
# Of a row that nobody saw again for so long nothing is known.
FRESH_SECONDS = 120


class AlertStore:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._rows = db.platform(ALERTS)

    async def all(self) -> list[Alert]:
        found = await self._db.brief(ALERTS).find({}, sort=(("_id", 1),), limit=_MANY)
        return [from_document(row, Alert) for row in found]

    async def firing(self) -> list[Alert]:
        """Those that the leading scheduler still sees."""
        long_ago = {"$subtract": ["$$NOW", FRESH_SECONDS * 1_000]}
        where = {"$expr": {"$gt": ["$seenAt", long_ago]}}
        found = await self._rows.find(where, sort=(("_id", 1),), limit=_MANY)
        return [from_document(row, Alert) for row in found]

    async def add(self, tx: Transaction, alert: Alert) -> None:
        """Raises Duplicate for one that fires already."""
        await tx.platform(ALERTS).insert(to_document(alert))

    async def see(self, alert: Alert) -> None:
        change = {"$set": {"value": alert.value, "seenAt": alert.seen_at}}
        await self._rows.update_one({"_id": alert.id}, change)

    async def remove(self, alert_id: str) -> None:
        await self._rows.delete_one({"_id": alert_id})

    async def operators(self) -> list[str]:
        """Addresses of those who run the appliance."""
        where = {"role": str(Role.SUPER_ADMIN), "status": "active"}
        found = await self._db.platform(USERS).find(where, limit=_MOST_RECIPIENTS)
        return [row["email"] for row in found]
