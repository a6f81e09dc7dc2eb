"""Members, companies and API tokens: documents, commands, events and errors."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from novapulse.core import errors, paging
from novapulse.core.access import Role, Scope
from novapulse.core.events import Event, event
from novapulse.core.fields import ObjectId
from novapulse.identity.model import Command, Company, Email, Name, User

# No role of a company: the operator's is given on the command line only.
CompanyRole = Literal["company_admin", "manager", "user"]
AccountStatus = Literal["active", "disabled"]
CompanyStatus = Literal["active", "suspended"]
Limit = Annotated[int, msgspec.Meta(ge=1, le=200)]
Cursor = Annotated[str, msgspec.Meta(max_length=128)]
Prefix = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*(?!\n)$")
]
MAX_API_TOKENS = 50


class LastAdmin(errors.Conflict):
    code = "last_admin"
    title = "This is the last active administrator; appoint another one first"


class LastOperator(errors.Conflict):
    code = "last_operator"
    title = "This is the last active operator; create another one first"


class TooManyApiTokens(errors.Conflict):
    code = "too_many_api_tokens"
    title = f"A user has at most {MAX_API_TOKENS} API tokens"


# Members


class ChangeMember(Command, frozen=True):
    """A merge patch: fields that are left out stay as they are."""

    name: Name | UnsetType = UNSET
    role: CompanyRole | UnsetType = UNSET
    manager_id: ObjectId | UnsetType | None = UNSET


class MemberQuery(Command, frozen=True):
    """`q` is the beginning of a name or an address."""

    limit: Limit = paging.DEFAULT_LIMIT
    cursor: Cursor | None = None
    role: CompanyRole | None = None
    status: AccountStatus | None = None
    q: Prefix | None = None


class AccountQuery(Command, frozen=True):
    """Accounts of one company, or of all and the operators."""

    limit: Limit = paging.DEFAULT_LIMIT
    cursor: Cursor | None = None
    company_id: str | None = None
    role: Role | None = None
    status: AccountStatus | None = None


class AccountView(User, frozen=True, kw_only=True, rename="camel"):
    """A user as the operator sees them: with the company, which operators do not have."""

    company_id: str | None


class NewAccount(Command, frozen=True):
    email: Email
    name: Name
    role: Role
    company_id: ObjectId | None = None


@event("user.role_changed")
class UserRoleChanged(Event, frozen=True, kw_only=True):
    user: User


@event("user.disabled")
class UserDisabled(Event, frozen=True, kw_only=True):
    user: User


@event("user.enabled")
class UserEnabled(Event, frozen=True, kw_only=True):
    user: User


@event("user.mfa_reset", is_public=False)
class MfaReset(Event, frozen=True, kw_only=True):
    user: User


@event("user.password_reset", is_public=False)
class PasswordReset(Event, frozen=True, kw_only=True):
    user: User


@event("user.unlocked", is_public=False)
class UserUnlocked(Event, frozen=True, kw_only=True):
    user: User


# Companies


class NewCompany(Command, frozen=True):
    name: Name


class ChangeOwnCompany(Command, frozen=True):
    name: Name | UnsetType = UNSET
    mfa_required: bool | UnsetType = UNSET


class ChangeCompany(ChangeOwnCompany, frozen=True):
    """What the operator may change: a suspended company's members are signed out and stay out."""

    status: CompanyStatus | UnsetType = UNSET


class CompanyQuery(Command, frozen=True):
    limit: Limit = paging.DEFAULT_LIMIT
    cursor: Cursor | None = None
    status: CompanyStatus | None = None


class CompanyStats(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many there are; `users` and `tasks` by their status."""

    users: dict[str, int]
    tasks: dict[str, int]
    pending_invites: int
    webhooks: int


@event("company.created", is_public=False)
class CompanyCreated(Event, frozen=True, kw_only=True):
    company: Company


@event("company.updated")
class CompanyUpdated(Event, frozen=True, kw_only=True):
    company: Company


# API tokens


class NewApiToken(Command, frozen=True):
    """Without `expires_at` the token lives until it is revoked."""

    name: Name
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1, max_length=len(Scope))]
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class PageQuery(Command, frozen=True):
    limit: Limit = paging.DEFAULT_LIMIT
    cursor: Cursor | None = None


class ApiToken(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An API token without what proves it; `hint` is how it begins."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    hint: str
    user_id: str
    expires_at: datetime | None
    last_used_at: datetime | None = None
    created_at: datetime


class CreatedApiToken(ApiToken, frozen=True, kw_only=True, rename="camel"):
    """The one answer with the token."""

    token: str


@event("token.created", is_public=False)
class ApiTokenCreated(Event, frozen=True, kw_only=True):
    token: ApiToken


@event("token.revoked", is_public=False)
class ApiTokenRevoked(Event, frozen=True, kw_only=True):
    token: ApiToken
