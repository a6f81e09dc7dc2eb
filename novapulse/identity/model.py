"""What identity is about: companies, users, sessions, and the commands on them."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from novapulse.core import errors
from novapulse.core.access import Role
from novapulse.core.events import Event, event

# `$` alone would let a line break at the end pass, and names go into the headers of mails.
_END = r"$(?!\n)"
_PART = r"[^@\s\x00-\x1f\x7f]"
_EMAIL = rf"^{_PART}{{1,64}}@{_PART}{{1,255}}{_END}"
_NAME = rf"^[^\x00-\x1f\x7f]*{_END}"
Email = Annotated[str, msgspec.Meta(pattern=_EMAIL, max_length=320)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120, pattern=_NAME)]
Password = Annotated[str, msgspec.Meta(min_length=12, max_length=1024)]


class EmailTaken(errors.Conflict):
    code = "email_taken"
    title = "This e-mail address already has an account"


class BadCredentials(errors.Unauthenticated):
    code = "bad_credentials"
    title = "E-mail address or password is wrong"


class MfaSetupRequired(errors.Forbidden):
    code = "mfa_setup_required"
    title = "Your company requires a second factor; set it up first"


class TwoCredentials(errors.Malformed):
    code = "two_credentials"
    title = "Send a bearer token or a cookie, not both"


class CsrfRefused(errors.Forbidden):
    code = "csrf"
    title = "The X-CSRF-Token header or the Origin does not fit the cookie"


class Company(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    name: str
    status: Literal["active", "suspended"] = "active"
    mfa_required: bool = False
    created_at: datetime
    updated_at: datetime
    version: int = 1


class User(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A person as the API shows them; what proves them is `Account`."""

    id: str
    email: str
    name: str
    role: Role
    status: Literal["active", "disabled"] = "active"
    manager_id: str | None = None
    created_at: datetime
    updated_at: datetime
    version: int = 1


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A user with what they sign in with and belong to; never leaves this package."""

    user: User
    company_id: str | None
    password_hash: str


class Rotation(msgspec.Struct, frozen=True, rename="camel"):
    """A refresh token that was exchanged for the next one, by its hash."""

    token_hash: str
    at: datetime


class Session(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One sign-in. It ends at `ends_at` at the latest, and at `expires_at` when nobody uses it.

    `token_hash` is that of the one refresh token that is good now.
    """

    id: str
    user_id: str
    company_id: str | None
    device: str = ""
    address: str = ""
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    ends_at: datetime
    token_hash: str
    recent: tuple[Rotation, ...] = ()
    stepped_up_until: datetime | None = None

    def view(self, *, current: str | None) -> "SessionView":
        return SessionView(
            id=self.id,
            user_id=self.user_id,
            device=self.device,
            ip=self.address,
            created_at=self.created_at,
            last_used_at=self.last_used_at,
            expires_at=self.expires_at,
            is_current=self.id == current,
        )


class SessionView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A session as its owner sees it."""

    id: str
    user_id: str
    device: str
    ip: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    is_current: bool


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """An account with everything that decides whether it may act at all."""

    account: Account
    company: Company | None
    mfa_enabled: bool

    @property
    def is_active(self) -> bool:
        """Whether the user is not disabled and the company, where there is one, not suspended."""
        if self.account.user.status != "active":
            return False
        if self.account.company_id is None:
            return True
        return self.company is not None and self.company.status == "active"

    @property
    def must_set_up_mfa(self) -> bool:
        """Whether the company wants a second factor and the user has none yet."""
        return self.company is not None and self.company.mfa_required and not self.mfa_enabled


@event("user.created")
class UserCreated(Event, frozen=True, kw_only=True):
    user: User


@event("user.updated")
class UserUpdated(Event, frozen=True, kw_only=True):
    user: User


@event("session.started", is_public=False)
class SessionStarted(Event, frozen=True, kw_only=True):
    session: SessionView


@event("session.token_reused")
class TokenReused(Event, frozen=True, kw_only=True):
    """An exchanged refresh token came again: somebody has a copy, and the session was ended."""

    session: SessionView


class Command(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """A body; unknown fields are refused."""


class SignedIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer to a sign-in; `expires_in` is in seconds."""

    access_token: str
    expires_in: int
    user: User
    company: Company | msgspec.UnsetType = msgspec.UNSET


class NewSession(msgspec.Struct, frozen=True, kw_only=True):
    """What a sign-in or a rotation gives; the refresh token goes into a cookie only."""

    session: Session
    refresh_token: str
    access_token: str
    expires_in: int
    user: User
    company: Company | msgspec.UnsetType = msgspec.UNSET

    def answer(self) -> SignedIn:
        return SignedIn(
            access_token=self.access_token,
            expires_in=self.expires_in,
            user=self.user,
            company=self.company,
        )


def email_key(email: str) -> str:
    """How addresses are compared: one account an address on the whole installation."""
    return email.strip().casefold()


class Visit(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which company an operator entered, and what was asked there."""

    id: str
    name: str
    route: str


@event("company.entered", is_public=False)
class CompanyEntered(Event, frozen=True, kw_only=True):
    company: Visit
