"""Every query of identity. Accounts are looked up across companies: signing in comes first."""

from typing import Any

from novapulse.core.documents import find_as, from_document, to_document
from novapulse.core.mongo import Database, Document, Duplicate, Rows, TenantSession
from novapulse.identity.model import Account, Company, EmailTaken, Session, User, email_key

COMPANIES = "companies"
USERS = "users"
SESSIONS = "sessions"
SETUP = "setup"

INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    USERS: (
        {"name": "email", "keys": [("emailKey", 1)], "unique": True},
        {"name": "company", "keys": [("companyId", 1), ("createdAt", -1), ("_id", -1)]},
    ),
    SESSIONS: (
        {"name": "user", "keys": [("userId", 1)]},
        {"name": "expiry", "keys": [("expiresAt", 1)], "expireAfterSeconds": 0},
    ),
}


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
    """Accounts and sessions by what identifies them, whatever their company."""

    def __init__(self, db: Database) -> None:
        self._users = db.platform(USERS)
        self._sessions = db.platform(SESSIONS)
        self._setup = db.platform(SETUP)

    async def find_by_email(self, email: str) -> Account | None:
        return _account(await self._users.find_one({"emailKey": email_key(email)}))

    async def find(self, user_id: str) -> Account | None:
        return _account(await self._users.find_one({"_id": user_id}))

    async def insert(self, account: Account) -> None:
        await insert_account(self._users, account)

    async def insert_session(self, session: Session) -> None:
        await self._sessions.insert(to_document(session))

    async def find_session(self, session_id: str) -> Session | None:
        return find_as(await self._sessions.find_one({"_id": session_id}), Session)

    async def is_set_up(self) -> bool:
        """Whether the first company was founded."""
        return await self._setup.find_one({"_id": SETUP}) is not None


def _account(document: Document | None) -> Account | None:
    if document is None:
        return None
    return Account(
        user=from_document(document, User),
        company_id=document["companyId"],
        password_hash=document["passwordHash"],
    )
