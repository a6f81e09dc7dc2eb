"""What identity is about: companies, users, sessions, and the commands on them."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from novapulse.core import errors
from novapulse.core.access import Role
from novapulse.core.events import Event, event

Email = Annotated[str, msgspec.Meta(pattern=r"^[^@\s]{1,64}@[^@\s]{1,255}$", max_length=320)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]*$")]
Password = Annotated[str, msgspec.Meta(min_length=12, max_length=1024)]


class EmailTaken(errors.Conflict):
    code = "email_taken"
    title = "This e-mail address already has an account"


class RegistrationClosed(errors.Forbidden):
    code = "registration_closed"
    title = "This installation does not take registrations; ask for an invite"


class SetupTokenWrong(errors.Forbidden):
    code = "setup_token"
    title = "The first company needs the setup token that the first start printed"


class BadCredentials(errors.Unauthenticated):
    code = "bad_credentials"
    title = "E-mail address or password is wrong"


class Company(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    name: str
    status: Literal["active", "suspended"] = "active"
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
    created_at: datetime
    updated_at: datetime
    version: int = 1


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A user with what they sign in with and belong to; never leaves this package."""

    user: User
    company_id: str | None
    password_hash: str


class Session(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    user_id: str
    company_id: str | None
    role: Role
    created_at: datetime
    expires_at: datetime


@event("user.created")
class UserCreated(Event, frozen=True, kw_only=True):
    user: User


class Register(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    company_name: Name
    name: Name
    email: Email
    password: Password
    setup_token: str | None = None


class Login(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    email: Annotated[str, msgspec.Meta(max_length=320)]
    password: Annotated[str, msgspec.Meta(max_length=1024)]


class SignedIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer to a sign-in; `expires_in` is in seconds."""

    access_token: str
    expires_in: int
    user: User
    company: Company | msgspec.UnsetType = msgspec.UNSET


class Me(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    email: str
    name: str
    role: Role
    company: Company | None
    mfa_enabled: bool = False
    version: int


def email_key(email: str) -> str:
    """How addresses are compared: one account an address on the whole installation."""
    return email.strip().casefold()
