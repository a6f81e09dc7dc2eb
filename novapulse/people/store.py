"""Every query on members, companies and API tokens."""

import re
from datetime import datetime, timedelta
from typing import Any

import msgspec

from novapulse.core import paging
from novapulse.core.access import Role
from novapulse.core.documents import find_as, from_document, to_document
from novapulse.core.errors import NotFound, VersionConflict
from novapulse.core.mongo import Database, Document, Rows, TenantSession
from novapulse.identity.model import Company, User, email_key
from novapulse.identity.store import COMPANIES, USERS, RowSource
from novapulse.people.model import (
    AccountQuery,
    AccountView,
    ApiToken,
    CompanyQuery,
    MemberQuery,
    PageQuery,
)

API_TOKENS = "api_tokens"

INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    COMPANIES: (
        {"name": "company", "keys": [("companyId", 1)], "unique": True},
        {"name": "all", "keys": [("createdAt", -1), ("_id", -1)]},
    ),
    API_TOKENS: (
        {"name": "token", "keys": [("tokenHash", 1)], "unique": True},
        {"name": "owner", "keys": [("userId", 1), ("createdAt", -1), ("_id", -1)]},
    ),
}


def present(**fields: Any) -> Document:
    """A filter of those that were asked for."""
    return {name: str(value) for name, value in fields.items() if value is not None}


async def save_fields(rows: Rows, struct: msgspec.Struct, *, if_version: int) -> None:
    """Write the struct's fields and leave the row's others; raises VersionConflict."""
    document = to_document(struct)
    where = {"_id": document.pop("_id"), "version": if_version}
    if not await rows.update_one(where, {"$set": document}):
        raise VersionConflict()


class MemberStore:
    """The accounts of one company, without what they sign in with."""

    def __init__(self, session: TenantSession) -> None:
        self._rows = session.rows(USERS)

    async def find(self, user_id: str) -> User | None:
        return find_as(await self._rows.find_one({"_id": user_id}), User)

    async def get(self, user_id: str) -> User:
        """Raises NotFound."""
        user = await self.find(user_id)
        if user is None:
            raise NotFound("There is no such user")
        return user

    async def save(self, user: User, *, if_version: int) -> None:
        await save_fields(self._rows, user, if_version=if_version)

    async def page(self, query: MemberQuery, *, only: str | None = None) -> list[User]:
        """`only` narrows to one user."""
        where = present(role=query.role, status=query.status, _id=only)
        parts = [where, paging.after(query.cursor)]
        if query.q is not None:
            begins = {"$regex": f"^{re.escape(query.q)}", "$options": "i"}
            parts.append({"$or": [{"name": begins}, {"email": begins}]})
        found = await self._rows.find(
            {"$and": parts}, sort=paging.NEWEST_FIRST, limit=query.limit + 1
        )
        return [from_document(document, User) for document in found]

    async def has_email(self, email: str) -> bool:
        return await self._rows.find_one({"emailKey": email_key(email)}) is not None

    async def other_admins(self, user_id: str) -> int:
        """How many active administrators there are besides this one; counts to 1."""
        where = {**present(role=Role.COMPANY_ADMIN, status="active"), "_id": {"$ne": user_id}}
        return await self._rows.count(where, limit=1)

    async def counts(self) -> dict[str, int]:
        return await _counts(self._rows)


async def page_of_accounts(db: Database, query: AccountQuery) -> list[AccountView]:
    """Accounts of every company and the operators: for operators only."""
    where = present(companyId=query.company_id, role=query.role, status=query.status)
    rows = db.platform(USERS)
    found = await rows.find(
        {**where, **paging.after(query.cursor)}, sort=paging.NEWEST_FIRST, limit=query.limit + 1
    )
    return [from_document(document, AccountView) for document in found]


async def find_operator(source: RowSource, user_id: str) -> User | None:
    """The operator of this id; operators are at no company."""
    where = {"_id": user_id, **present(role=Role.SUPER_ADMIN)}
    return find_as(await source.platform(USERS).find_one(where), User)


async def has_other_operator(source: RowSource, user_id: str) -> bool:
    """Whether an active operator besides this one is left."""
    where = {**present(role=Role.SUPER_ADMIN, status="active"), "_id": {"$ne": user_id}}
    return await source.platform(USERS).find_one(where) is not None


async def _counts(rows: Rows) -> dict[str, int]:
    found = await rows.aggregate([{"$group": {"_id": "$status", "n": {"$sum": 1}}}])
    return {str(row["_id"]): int(row["n"]) for row in sorted(found, key=lambda row: row["_id"])}


class OwnCompanyStore:
    def __init__(self, session: TenantSession) -> None:
        self._session = session
        self._rows = session.rows(COMPANIES)

    async def get(self) -> Company:
        """Raises NotFound."""
        company = find_as(await self._rows.find_one({}), Company)
        if company is None:
            raise NotFound("There is no such company")
        return company

    async def insert(self, company: Company) -> None:
        await self._rows.insert(to_document(company))

    async def save(self, company: Company, *, if_version: int) -> None:
        await save_fields(self._rows, company, if_version=if_version)

    async def serialise_admins(self, now: datetime) -> None:
        """Let two changes to who administers the company conflict, so that one stays."""
        await self._rows.update_one({}, {"$set": {"adminsChangedAt": now}})

    async def count_tasks(self) -> dict[str, int]:
        return await _counts(self._session.rows("tasks"))

    async def count_open_invites(self) -> int:
        return await self._session.rows("invites").count({"status": "pending"}, limit=10_000)

    async def count_webhooks(self) -> int:
        return await self._session.rows("webhooks").count({}, limit=10_000)


async def page_of_companies(db: Database, query: CompanyQuery) -> list[Company]:
    """Every company of the installation: for operators only."""
    where = {**present(status=query.status), **paging.after(query.cursor)}
    rows = db.platform(COMPANIES)
    found = await rows.find(where, sort=paging.NEWEST_FIRST, limit=query.limit + 1)
    return [from_document(document, Company) for document in found]


class ApiTokenStore:
    """One user's API tokens; an operator's are the installation's."""

    def __init__(self, session: TenantSession, *, user_id: str) -> None:
        self._rows = session.rows(API_TOKENS)
        self._owner = {"userId": user_id}

    async def insert(self, token: ApiToken, *, token_hash: str) -> None:
        await self._rows.insert({**to_document(token), "tokenHash": token_hash})

    async def count(self, *, limit: int) -> int:
        return await self._rows.count(self._owner, limit=limit)

    async def get(self, token_id: str) -> ApiToken:
        """Raises NotFound."""
        document = await self._rows.find_one({"_id": token_id, **self._owner})
        if document is None:
            raise NotFound("There is no such API token")
        return from_document(document, ApiToken)

    async def page(self, query: PageQuery) -> list[ApiToken]:
        found = await self._rows.find(
            {**self._owner, **paging.after(query.cursor)},
            sort=paging.NEWEST_FIRST,
            limit=query.limit + 1,
        )
        return [from_document(document, ApiToken) for document in found]

    async def delete(self, token_id: str) -> None:
        await self._rows.delete_one({"_id": token_id, **self._owner})


async def find_api_token(db: Database, token_hash: str) -> ApiToken | None:
    return find_as(await db.platform(API_TOKENS).find_one({"tokenHash": token_hash}), ApiToken)


async def touch_api_token(db: Database, token_id: str, *, now: datetime) -> None:
    """Note a use, at most once a minute."""
    where = {"_id": token_id, "lastUsedAt": {"$not": {"$gt": now - timedelta(minutes=1)}}}
    await db.platform(API_TOKENS).update_one(where, {"$set": {"lastUsedAt": now}})
