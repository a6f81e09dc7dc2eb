"""`/auth/*`: registration, sign-in, sessions, passwords, the second factor, own profile."""

from msgspec import UNSET

from novapulse.core import wire
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.endpoint import JSON
from novapulse.core.paging import Listing
from novapulse.core.routing import Reply, Routes
from novapulse.identity import cookies
from novapulse.identity.model import NewSession, SessionView, SignedIn
from novapulse.identity.service import of
from novapulse.signin import mfa, passwords, profile, registration, service
from novapulse.signin.model import (
    AnswerChallenge,
    ChangePassword,
    ChangeProfile,
    ConfirmEmail,
    ForgotPassword,
    Login,
    Me,
    MfaSetup,
    MfaStatus,
    ProveMfa,
    RecoveryCodes,
    Register,
    ResetPassword,
    SetUpMfa,
    StepUp,
    VerifyMfa,
)

routes = Routes("identity")


@routes.add("POST", "/auth/register", scope=None, status=201, limit="register", returns=SignedIn)
async def register(ctx: Context, body: Register) -> Reply:
    """Found a company; the first one of an installation needs the setup token."""
    return with_cookies(ctx, await registration.register(ctx, body), status=201)


def with_cookies(ctx: Context, opened: NewSession, *, status: int = 200) -> Reply:
    """The answer to a sign-in: the access token in the body, the refresh token in its cookie."""
    headers = cookies.set_cookies(
        opened.session,
        refresh_token=opened.refresh_token,
        csrf_token=of(ctx).refresh_tokens.csrf_token(opened.session.id),
        now=ctx.now(),
        base_url=ctx.runtime.settings.server.base_url,
    )
    return Reply(wire.encode(opened.answer()), status, [*JSON, *headers])


@routes.add("POST", "/auth/login", scope=None, limit="login", returns=SignedIn)
async def login(ctx: Context, body: Login) -> Reply:
    """Sign in with e-mail address and password; with a second factor the answer is a challenge."""
    return with_cookies(ctx, await service.login(ctx, body))


@routes.add(
    *("POST", "/auth/login/mfa"),
    scope=None,
    limit="login",
    limit_group="login-mfa",
    returns=SignedIn,
)
async def answer_challenge(ctx: Context, body: AnswerChallenge) -> Reply:
    """Answer the challenge with a code of the authenticator app or a recovery code."""
    return with_cookies(ctx, await service.answer_challenge(ctx, body))


@routes.add("POST", "/auth/refresh", scope=None, returns=SignedIn)
async def refresh(ctx: Context) -> Reply:
    """New tokens for the refresh cookie; needs the X-CSRF-Token header."""
    return with_cookies(ctx, await service.refresh(ctx))


@routes.add("POST", "/auth/logout", scope=Scope.PROFILE, status=204)
async def logout(ctx: Context) -> Reply:
    """End this session."""
    await service.logout(ctx)
    return _signed_out(ctx)


@routes.add("POST", "/auth/logout-all", scope=Scope.PROFILE, status=204)
async def logout_everywhere(ctx: Context) -> Reply:
    """End every session of the caller."""
    await service.logout_everywhere(ctx)
    return _signed_out(ctx)


def _signed_out(ctx: Context) -> Reply:
    base_url = ctx.runtime.settings.server.base_url
    return Reply(status=204, headers=cookies.clear_cookies(base_url))


@routes.add("POST", "/auth/step-up", scope=Scope.PROFILE)
async def step_up(ctx: Context, body: StepUp) -> None:
    """Prove oneself again; for 5 minutes the session may do what needs that."""
    await service.step_up(ctx, body)


@routes.add("GET", "/auth/sessions", scope=Scope.PROFILE)
async def list_sessions(ctx: Context) -> Listing[SessionView]:
    """The caller's sessions, newest first."""
    return await service.list_sessions(ctx)


@routes.add("DELETE", "/auth/sessions/{id}", scope=Scope.PROFILE)
async def end_session(ctx: Context, session_id: str) -> None:
    """End one of the caller's sessions."""
    await service.end_session(ctx, session_id)


@routes.add("GET", "/auth/me", scope=Scope.PROFILE)
async def me(ctx: Context) -> Me:
    """The caller's profile and company."""
    return await profile.me(ctx)


@routes.add("PATCH", "/auth/me", scope=Scope.PROFILE, also=(202,), returns=Me)
async def change_me(ctx: Context, body: ChangeProfile, *, if_match: int | None) -> Reply:
    """Change one's name; a new address has to be confirmed first (202) and needs a step-up."""
    changed = await profile.change(ctx, body, if_version=if_match)
    status = 200 if body.email is UNSET else 202
    etag = (b"etag", f'"{changed.version}"'.encode())
    return Reply(wire.encode(changed), status, [*JSON, etag])


@routes.add("POST", "/auth/email/confirm", scope=None, limit="login", limit_group="links")
async def confirm_email(ctx: Context, body: ConfirmEmail) -> None:
    """Take over a new address with the token that was mailed to it."""
    await profile.confirm_email(ctx, body)


@routes.add("POST", "/auth/password/change", scope=Scope.PROFILE)
async def change_password(ctx: Context, body: ChangePassword) -> None:
    """Another password; all other sessions end."""
    await passwords.change(ctx, body)


@routes.add(
    *("POST", "/auth/password/forgot"),
    scope=None,
    status=202,
    limit="login",
    limit_group="links",
)
async def forgot_password(ctx: Context, body: ForgotPassword) -> Reply:
    """Mail a link for a new password; always 202."""
    await passwords.forgot(ctx, body)
    return Reply(status=202)


@routes.add("POST", "/auth/password/reset", scope=None, limit="login", limit_group="links")
async def reset_password(ctx: Context, body: ResetPassword) -> None:
    """A new password with the token that was mailed; all sessions end."""
    await passwords.reset(ctx, body)


@routes.add("GET", "/auth/mfa", scope=Scope.PROFILE)
async def mfa_status(ctx: Context) -> MfaStatus:
    """Whether the caller has a second factor."""
    return await mfa.status(ctx)


@routes.add("POST", "/auth/mfa/setup", scope=Scope.PROFILE)
async def set_up_mfa(ctx: Context, body: SetUpMfa) -> MfaSetup:
    """A secret for the authenticator app and recovery codes; nothing is on yet."""
    return await mfa.set_up(ctx, body)


@routes.add("POST", "/auth/mfa/verify", scope=Scope.PROFILE)
async def verify_mfa(ctx: Context, body: VerifyMfa) -> MfaStatus:
    """Switch the second factor on; other sessions end."""
    return await mfa.verify(ctx, body)


@routes.add("POST", "/auth/mfa/disable", scope=Scope.PROFILE)
async def disable_mfa(ctx: Context, body: ProveMfa) -> None:
    """Switch the second factor off; other sessions end."""
    await mfa.disable(ctx, body)


@routes.add("POST", "/auth/mfa/recovery-codes", scope=Scope.PROFILE)
async def renew_recovery_codes(ctx: Context, body: ProveMfa) -> RecoveryCodes:
    """Ten new recovery codes; the old ones are dead."""
    return await mfa.renew_recovery_codes(ctx, body)
