"""Queries on companies and accounts; signing in looks accounts up across companies."""

from typing import Any, Protocol

from novapulse.core.documents import find_as, from_document, to_document
from novapulse.core.errors import TransientConflict
from novapulse.core.mongo import Document, Duplicate, Rows, TenantSession
from novapulse.identity.model import Account, Company, EmailTaken, Standing, User, email_key

COMPANIES = "companies"
USERS = "users"
SESSIONS = "sessions"
FACTORS = "factors"
ATTEMPTS = "attempts"
DEVICES = "devices"
TICKETS = "tickets"
SETUP = "setup"

_EXPIRY = {"name": "expiry", "keys": [("expiresAt", 1)], "expireAfterSeconds": 0}
INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    USERS: (
        {"name": "email", "keys": [("emailKey", 1)], "unique": True},
        {"name": "company", "keys": [("companyId", 1), ("createdAt", -1), ("_id", -1)]},
    ),
    SESSIONS: (
        {"name": "user", "keys": [("userId", 1), ("createdAt", -1), ("_id", -1)]},
        _EXPIRY,
    ),
    ATTEMPTS: (_EXPIRY,),
    DEVICES: ({"name": "user", "keys": [("userId", 1)]}, _EXPIRY),
}


class RowSource(Protocol):
    """The database, or a transaction on it."""

    def platform(self, collection: str) -> Rows: ...


def account_document(account: Account) -> Document:
    return {
        **to_document(account.user),
        "companyId": account.company_id,
        "emailKey": email_key(account.user.email),
        "passwordHash": account.password_hash,
    }


async def insert_account(users: Rows, account: Account) -> None:
    """Raises EmailTaken."""
    try:
        await users.insert(account_document(account))
    except Duplicate as error:
        raise EmailTaken() from error


class CompanyStore:
    def __init__(self, session: TenantSession) -> None:
        self._rows = session.rows(COMPANIES)

    async def insert(self, company: Company) -> None:
        await self._rows.insert(to_document(company))

    async def find(self) -> Company | None:
        """The session's own company."""
        return find_as(await self._rows.find_one({}), Company)


class AccountStore:
    """Accounts by what identifies them, whatever their company."""

    def __init__(self, source: RowSource) -> None:
        self._users = source.platform(USERS)
        self._setup = source.platform(SETUP)

    async def find_by_email(self, email: str) -> Account | None:
        row = await self._users.find_one({"emailKey": email_key(email)})
        return _account(row) if row else None

    async def find(self, user_id: str) -> Account | None:
        row = await self._users.find_one({"_id": user_id})
        return _account(row) if row else None

    async def find_standing(self, user_id: str) -> Standing | None:
        return await self._standing({"_id": user_id})

    async def find_standing_by_email(self, email: str) -> Standing | None:
        return await self._standing({"emailKey": email_key(email)})

    async def _standing(self, where: Document) -> Standing | None:
        """The account with its company and whether it has a second factor, in one round trip."""
        found = await self._users.aggregate(
            [
                {"$match": where},
                _lookup(COMPANIES, local="companyId"),
                _lookup(FACTORS, local="_id", fields={"enabledAt": 1}),
            ]
        )
        if not found:
            return None
        row = found[0]
        companies, factors = row[COMPANIES], row[FACTORS]
        return Standing(
            account=_account(row),
            company=from_document(companies[0], Company) if companies else None,
            mfa_enabled=bool(factors and factors[0].get("enabledAt")),
        )

    async def insert(self, account: Account) -> None:
        await insert_account(self._users, account)

    async def set_password(self, user_id: str, password_hash: str) -> None:
        await self._users.update_one({"_id": user_id}, {"$set": {"passwordHash": password_hash}})

    async def replace_password(self, account: Account, password_hash: str) -> None:
        """A stronger hash of the same password, unless that was changed meanwhile."""
        where = {"_id": account.user.id, "passwordHash": account.password_hash}
        await self._users.update_one(where, {"$set": {"passwordHash": password_hash}})

    async def save_user(self, user: User, *, if_version: int) -> bool:
        """Write over version `if_version`; whether it still was that one. Raises EmailTaken."""
        document = to_document(user)
        where = {"_id": document.pop("_id"), "version": if_version}
        change = {"$set": {**document, "emailKey": email_key(user.email)}}
        try:
            return bool(await self._users.update_one(where, change))
        except Duplicate as error:
            raise EmailTaken() from error

    async def take_setup(self, company_id: str) -> None:
        """One founding wins: a parallel one conflicts here and finds the installation set up."""
        try:
            await self._setup.insert({"_id": SETUP, "companyId": company_id})
        except Duplicate as error:
            raise TransientConflict() from error

    async def is_set_up(self) -> bool:
        """Whether the first company was founded."""
        return await self._setup.find_one({"_id": SETUP}) is not None


def _lookup(collection: str, *, local: str, fields: Document | None = None) -> Document:
    join: Document = {"from": collection, "localField": local, "foreignField": "_id"}
    if fields is not None:
        join["pipeline"] = [{"$project": fields}]
    return {"$lookup": {**join, "as": collection}}


def _account(document: Document) -> Account:
    return Account(
        user=from_document(document, User),
        company_id=document["companyId"],
        password_hash=document["passwordHash"],
    )
