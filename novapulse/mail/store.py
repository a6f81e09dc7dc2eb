"""Every query on suppressions: addresses are the installation's, not one company's."""

from typing import Any

from novapulse.core import paging
from novapulse.core.documents import find_as, from_document, to_document
from novapulse.identity.model import email_key
from novapulse.identity.store import RowSource
from novapulse.mail.model import Suppression, SuppressionQuery

SUPPRESSIONS = "mail_suppressions"

INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    SUPPRESSIONS: ({"name": "newest", "keys": [("createdAt", -1), ("_id", -1)]},),
}


class SuppressionStore:
    def __init__(self, source: RowSource) -> None:
        self._rows = source.platform(SUPPRESSIONS)

    async def find(self, address: str) -> Suppression | None:
        return find_as(await self._rows.find_one({"_id": email_key(address)}), Suppression)

    async def add(self, suppression: Suppression) -> None:
        """The first reason stays."""
        await self._rows.insert_missing([to_document(suppression)])

    async def page(self, query: SuppressionQuery) -> list[Suppression]:
        """One more than the page holds, when there are more; newest first."""
        found = await self._rows.find(
            paging.after(query.cursor), sort=paging.NEWEST_FIRST, limit=query.limit + 1
        )
        return [from_document(document, Suppression) for document in found]

    async def remove(self, suppression: Suppression) -> bool:
        """Whether it was there."""
        return bool(await self._rows.delete_one({"_id": suppression.id}))
