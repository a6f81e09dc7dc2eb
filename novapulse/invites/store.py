"""Every query on invites."""

from datetime import datetime, timedelta
from typing import Any

from novapulse.core import paging
from novapulse.core.documents import find_as, from_document, to_document
from novapulse.core.errors import NotFound
from novapulse.core.mongo import Database, Duplicate, TenantSession
from novapulse.identity.model import email_key
from novapulse.invites.model import Invite, InvitePending, InviteQuery, InviteStatus
from novapulse.people.store import present, save_fields

INVITES = "invites"
# Settled invites hold addresses of people who may have no account: they do not stay for ever.
KEEP_SETTLED = timedelta(days=90)

_PENDING = {"status": str(InviteStatus.PENDING)}
INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    INVITES: (
        {"name": "newest", "keys": [("companyId", 1), ("createdAt", -1), ("_id", -1)]},
        {"name": "token", "keys": [("tokenHash", 1)], "unique": True},
        {
            "name": "open",
            "keys": [("companyId", 1), ("emailKey", 1)],
            "unique": True,
            "partialFilterExpression": _PENDING,
        },
        {"name": "lapsed", "keys": [("expiresAt", 1)], "partialFilterExpression": _PENDING},
        {"name": "expiry", "keys": [("forgetAt", 1)], "expireAfterSeconds": 0},
    ),
}


class InviteStore:
    """One company's invites; `own` narrows every query to those that this user sent."""

    def __init__(self, session: TenantSession, *, own: str | None = None) -> None:
        self._rows = session.rows(INVITES)
        self._own = present(createdBy=own)

    async def insert(self, invite: Invite, *, token_hash: str) -> None:
        """Raises InvitePending."""
        key = email_key(invite.email)
        document = {**to_document(invite), "tokenHash": token_hash, "emailKey": key}
        try:
            await self._rows.insert(document)
        except Duplicate as error:
            raise InvitePending() from error

    async def get(self, invite_id: str) -> Invite:
        """Raises NotFound."""
        document = await self._rows.find_one({"_id": invite_id, **self._own})
        if document is None:
            raise NotFound("There is no such invite")
        return from_document(document, Invite)

    async def find_pending(self, email: str) -> Invite | None:
        """The address's invite that was not used yet; it may have lapsed."""
        where = {"emailKey": email_key(email), **_PENDING}
        return find_as(await self._rows.find_one(where), Invite)

    async def pending(self, *, limit: int) -> list[Invite]:
        """Those that were not used yet; they may have lapsed."""
        found = await self._rows.find({**_PENDING, **self._own}, limit=limit, hint="open")
        return [from_document(document, Invite) for document in found]

    async def page(self, query: InviteQuery) -> list[Invite]:
        where = {**present(status=query.status), **self._own, **paging.after(query.cursor)}
        found = await self._rows.find(where, sort=paging.NEWEST_FIRST, limit=query.limit + 1)
        return [from_document(document, Invite) for document in found]

    async def settle(self, invite: Invite, *, if_version: int) -> None:
        """Save an invite that was used, withdrawn or has expired."""
        await save_fields(self._rows, invite, if_version=if_version)
        forget = {"$set": {"forgetAt": invite.updated_at + KEEP_SETTLED}}
        await self._rows.update_one({"_id": invite.id}, forget)

    async def reopen(self, invite: Invite, *, token_hash: str, if_version: int) -> None:
        """Save under a new token, the old one is dead; raises InvitePending."""
        try:
            await save_fields(self._rows, invite, if_version=if_version)
        except Duplicate as error:
            raise InvitePending() from error
        change = {"$set": {"tokenHash": token_hash}, "$unset": {"forgetAt": ""}}
        await self._rows.update_one({"_id": invite.id}, change)


async def find_invite(db: Database, token_hash: str) -> tuple[str, Invite] | None:
    """The company and the invite that a token opens, whatever its state."""
    document = await db.platform(INVITES).find_one({"tokenHash": token_hash})
    return None if document is None else (document["companyId"], from_document(document, Invite))


async def companies_invited_to(db: Database, inviter_ids: list[str]) -> dict[str, list[str]]:
    """Who of them has invites not used yet, and to which companies: an operator to any."""
    where = {**_PENDING, "createdBy": {"$in": inviter_ids}}
    companies = {"_id": "$createdBy", "companies": {"$addToSet": "$companyId"}}
    stages = [{"$match": where}, {"$group": companies}]
    found = await db.platform(INVITES).aggregate(stages, hint="lapsed")
    return {row["_id"]: sorted(row["companies"]) for row in found}


async def lapsed_invites(db: Database, now: datetime, *, limit: int) -> list[tuple[str, str]]:
    """Company and id of open invites whose time is over, in all companies."""
    where = {**_PENDING, "expiresAt": {"$lte": now}}
    found = await db.platform(INVITES).find(where, limit=limit, hint="lapsed")
    return [(document["companyId"], document["_id"]) for document in found]
