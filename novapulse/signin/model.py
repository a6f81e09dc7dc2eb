"""Signing in: commands, answers, errors and events."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from novapulse.core import errors
from novapulse.core.access import Role
from novapulse.core.events import Event, event
from novapulse.identity.model import Command, Company, Email, Name, Password, User

# What is only compared with something stored may be anything of a bearable length.
Text = Annotated[str, msgspec.Meta(max_length=1_024)]
Code = Annotated[str, msgspec.Meta(min_length=6, max_length=39)]
TotpCode = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{6}$", max_length=6)]


class RegistrationClosed(errors.Forbidden):
    code = "registration_closed"
    title = "This installation does not take registrations; ask for an invite"


class SetupTokenWrong(errors.Forbidden):
    code = "setup_token"
    title = "The first company needs the setup token that the first start printed"


class BadCode(errors.Unauthenticated):
    code = "bad_code"
    title = "The code is wrong or was used"


class BadChallenge(errors.Unauthenticated):
    code = "bad_challenge"
    title = "The sign-in took too long or too many codes were wrong; start again"


class NothingPending(errors.Conflict):
    code = "mfa_not_pending"
    title = "No second factor is being set up, or its time is over"


class MfaNotEnabled(errors.Conflict):
    code = "mfa_not_enabled"
    title = "There is no second factor"


class LinkGone(errors.Gone):
    code = "link_gone"
    title = "This link was used or has expired"


class Register(Command, frozen=True):
    company_name: Name
    name: Name
    email: Email
    password: Password
    setup_token: str | None = None


class Login(Command, frozen=True):
    email: Annotated[str, msgspec.Meta(max_length=320)]
    password: Text


class AnswerChallenge(Command, frozen=True):
    """`code` is six digits of the authenticator app, or a recovery code."""

    challenge_token: Text
    code: Code


class StepUp(Command, frozen=True):
    """`code` is needed with a second factor."""

    password: Text
    code: Code | None = None


class ChangePassword(Command, frozen=True):
    current_password: Text
    new_password: Password


class ForgotPassword(Command, frozen=True):
    email: Annotated[str, msgspec.Meta(max_length=320)]


class ResetPassword(Command, frozen=True):
    token: Text
    password: Password


class ChangeProfile(Command, frozen=True):
    """A merge patch; a new address counts once the link in its mail was followed."""

    name: Name | UnsetType = UNSET
    email: Email | UnsetType = UNSET


class ConfirmEmail(Command, frozen=True):
    token: Text


class SetUpMfa(Command, frozen=True):
    password: Text


class VerifyMfa(Command, frozen=True):
    code: TotpCode


class ProveMfa(Command, frozen=True):
    """`code` is six digits of the authenticator app, or a recovery code."""

    password: Text
    code: Code


class Me(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    email: str
    name: str
    role: Role
    company: Company | None
    mfa_enabled: bool
    created_at: datetime
    version: int


class MfaSetup(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the authenticator app needs; nothing is on before a code was verified."""

    secret: str
    otpauth_uri: str
    qr_code: str
    recovery_codes: tuple[str, ...]


class MfaStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    enabled: bool
    recovery_codes_left: int
    enabled_at: datetime | None


class RecoveryCodes(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    recovery_codes: tuple[str, ...]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Whose proof was not good (`unknown` when nobody's address was given), and which."""

    id: str
    proof: Literal["password", "code"]


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    """A session, or this installation, by its id alone."""

    id: str


@event("user.proof_refused", is_public=False)
class ProofRefused(Event, frozen=True, kw_only=True):
    user: Refusal


@event("session.ended", is_public=False)
class SessionEnded(Event, frozen=True, kw_only=True):
    session: Ref


@event("session.stepped_up", is_public=False)
class SessionSteppedUp(Event, frozen=True, kw_only=True):
    session: Ref


@event("user.sessions_ended", is_public=False)
class SessionsEnded(Event, frozen=True, kw_only=True):
    user: Ref


@event("user.password_reset_requested", is_public=False)
class PasswordResetRequested(Event, frozen=True, kw_only=True):
    user: Ref


@event("user.email_change_requested", is_public=False)
class EmailChangeRequested(Event, frozen=True, kw_only=True):
    user: Ref


@event("user.mfa_setup_started", is_public=False)
class MfaSetupStarted(Event, frozen=True, kw_only=True):
    user: Ref


@event("user.recovery_codes_renewed", is_public=False)
class RecoveryCodesRenewed(Event, frozen=True, kw_only=True):
    user: Ref


@event("company.registered", is_public=False)
class CompanyRegistered(Event, frozen=True, kw_only=True):
    company: Company


@event("installation.set_up", is_public=False)
class SetUp(Event, frozen=True, kw_only=True):
    """The setup token was used: the first company was founded."""

    installation: Ref


@event("user.password_changed")
class PasswordChanged(Event, frozen=True, kw_only=True):
    user: User


@event("user.mfa_enabled")
class MfaEnabled(Event, frozen=True, kw_only=True):
    user: User


@event("user.mfa_disabled")
class MfaDisabled(Event, frozen=True, kw_only=True):
    user: User


@event("user.recovery_code_used")
class RecoveryCodeUsed(Event, frozen=True, kw_only=True):
    user: User
