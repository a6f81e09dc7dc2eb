"""Queries on second factors: sealed TOTP secrets, burnt steps, hashes of recovery codes.

Whatever may happen once (a step, a recovery code, the switch from pending to
enabled) is one atomic update whose filter is the condition.
"""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from novapulse.core.crypto import Place
from novapulse.core.documents import find_as
from novapulse.core.mongo import Document
from novapulse.core.sealed import SealedField, SealedSpot
from novapulse.identity.store import FACTORS, RowSource


class Pending(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A set-up that was not verified yet."""

    secret: str
    recovery_codes: tuple[str, ...]
    expires_at: datetime


class Factor(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One user's second factor; secrets are sealed, recovery codes hashed.

    Without `secret` there is only a pending one. `last_step` is the latest
    30-second step whose code was used.
    """

    id: str
    company_id: str | None
    secret: str | None = None
    enabled_at: datetime | None = None
    last_step: int = 0
    recovery_codes: tuple[str, ...] = ()
    pending: Pending | None = None


class FactorStore:
    def __init__(self, source: RowSource) -> None:
        self._rows = source.platform(FACTORS)

    async def find(self, user_id: str) -> Factor | None:
        return find_as(await self._rows.find_one({"_id": user_id}), Factor)

    async def set_pending(self, user_id: str, company_id: str | None, *, pending: Pending) -> None:
        """Beside a running one, which goes on."""
        document: Document = msgspec.to_builtins(pending, builtin_types=(datetime,))
        change = {"$set": {"companyId": company_id, "pending": document}}
        await self._rows.find_and_update({"_id": user_id}, change, upsert=True)

    async def enable(self, user_id: str, pending: Pending, *, enabled: Factor) -> bool:
        """Put `enabled` in the place of that pending one; False when it is not pending any more."""
        where = {"_id": user_id, "pending.secret": pending.secret}
        change = {
            "secret": enabled.secret,
            "enabledAt": enabled.enabled_at,
            "lastStep": enabled.last_step,
            "recoveryCodes": list(enabled.recovery_codes),
        }
        update = {"$set": change, "$unset": {"pending": ""}}
        return bool(await self._rows.update_one(where, update))

    async def burn_step(self, factor: Factor, step: int) -> bool:
        """Use a step up; False when it, or a later one, was used already."""
        where = {"_id": factor.id, "secret": factor.secret, "lastStep": {"$lt": step}}
        return bool(await self._rows.update_one(where, {"$set": {"lastStep": step}}))

    async def burn_recovery_code(self, user_id: str, code_hash: str) -> bool:
        """Use a recovery code up; False when there is no such one left."""
        where = {"_id": user_id, "recoveryCodes": code_hash}
        return bool(await self._rows.update_one(where, {"$pull": {"recoveryCodes": code_hash}}))

    async def replace_recovery_codes(self, user_id: str, hashes: tuple[str, ...]) -> bool:
        where = {"_id": user_id, "enabledAt": {"$exists": True}}
        return bool(await self._rows.update_one(where, {"$set": {"recoveryCodes": list(hashes)}}))

    async def remove(self, user_id: str) -> bool:
        """Whether there was one, pending or enabled."""
        return bool(await self._rows.delete_one({"_id": user_id}))


def _spots(row: Document) -> Iterator[SealedSpot]:
    pending = row.get("pending") or {}
    for path, value in (("secret", row.get("secret")), ("pending.secret", pending.get("secret"))):
        if value is not None:
            place = Place(FACTORS, row["_id"], path, row.get("companyId") or "")
            yield SealedSpot(path, value, place)


SEALED = (SealedField(FACTORS, ("companyId", "secret", "pending"), _spots),)
