"""Use cases of sessions: sign in, answer a challenge, refresh, look, end."""

from datetime import timedelta

from novapulse.core import paging
from novapulse.core.context import Context
from novapulse.core.errors import MfaRequired, NotFound, Unauthenticated
from novapulse.core.paging import Listing
from novapulse.identity import cookies, stepup
from novapulse.identity.model import NewSession, Session, SessionView, TokenReused
from novapulse.identity.refresh import digest
from novapulse.identity.service import acting_as, home_of, new_session, of, open_session
from novapulse.identity.sessions import SessionStore, is_repeat
from novapulse.signin.model import (
    AnswerChallenge,
    BadChallenge,
    Login,
    Ref,
    SessionEnded,
    SessionsEnded,
    SessionSteppedUp,
    StepUp,
)
from novapulse.signin.proving import check_code, find_by_password, prove
from novapulse.signin.store import Purpose, TicketStore

CHALLENGE_LASTS = timedelta(minutes=5)
CHALLENGE_TRIES = 5
_ENDED = "The session has ended; sign in again"


async def login(ctx: Context, command: Login) -> NewSession:
    """A session for an e-mail address and its password.

    Raises:
        BadCredentials: whatever the reason.
        MfaRequired: with the token of a challenge to answer.
    """
    standing = await find_by_password(ctx, command.email, command.password)
    if standing.mfa_enabled:
        tickets = TicketStore(ctx.runtime.db)
        expires_at = ctx.now() + CHALLENGE_LASTS
        user_id = standing.account.user.id
        raise MfaRequired(await tickets.issue(Purpose.CHALLENGE, user_id, expires_at=expires_at))
    return await open_session(ctx, standing.account)


async def answer_challenge(ctx: Context, command: AnswerChallenge) -> NewSession:
    """A session for a challenge and a code.

    Raises:
        BadChallenge: it is over, was answered, or had too many tries.
        BadCode: try again, but not often.
    """
    tickets = TicketStore(ctx.runtime.db)
    ticket = await tickets.attempt(
        Purpose.CHALLENGE, command.challenge_token, now=ctx.now(), most=CHALLENGE_TRIES
    )
    standing = await of(ctx).accounts.find_standing(ticket.user_id) if ticket else None
    if ticket is None or standing is None or not standing.is_active:
        raise BadChallenge()
    await check_code(ctx, standing.account, code=command.code)
    if not await tickets.take(ticket):
        raise BadChallenge()
    return await open_session(ctx, standing.account)


async def refresh(ctx: Context) -> NewSession:
    """New tokens for the request's refresh cookie, whose token is used up by that.

    A repeat within 10 seconds gets the same answer. Later somebody has a copy
    of the token: the session ends, and its owner gets a mail.

    Raises:
        Unauthenticated: no cookie, a made-up token, or its session has ended.
        CsrfRefused: another site's page asks.
        TwoCredentials: a bearer token came with the cookie.
    """
    identity, now = of(ctx), ctx.now()
    headers = ctx.request.headers if ctx.request else {}
    cookies.require_one_credential(headers)
    token = cookies.refresh_token_of(headers)
    session_id = identity.refresh_tokens.session_of(token) if token else None
    if token is None or session_id is None:
        raise Unauthenticated()
    cookies.require_own_page(
        headers,
        csrf_token=identity.refresh_tokens.csrf_token(session_id),
        base_url=ctx.runtime.settings.server.base_url,
    )
    successor = identity.refresh_tokens.successor(token)
    sessions = SessionStore(ctx.runtime.db)
    hashes = {"presented": digest(token), "successor": digest(successor)}
    session = await sessions.rotate(session_id, **hashes, now=now, limits=identity.limits)
    if session is None:
        session = await sessions.find(session_id, now)
        if session is None:
            raise Unauthenticated(_ENDED)
        if not is_repeat(session, digest(token), now):
            await _end_stolen(ctx, session)
            raise Unauthenticated(_ENDED)
    standing = await identity.accounts.find_standing(session.user_id)
    if standing is None or not standing.is_active:
        await sessions.end(session.id)
        raise Unauthenticated(_ENDED)
    return new_session(ctx, session, account=standing.account, refresh_token=successor)


async def _end_stolen(ctx: Context, session: Session) -> None:
    """End a session of whose refresh token there is a copy; its owner is told."""
    identity = of(ctx)
    identity.sessions.forget(session.id)
    account = await identity.accounts.find(session.user_id)
    if account is None:
        await SessionStore(ctx.runtime.db).end(session.id)
        return
    text = (
        f"Hello {account.user.name},\n\n"
        "a token of one of your sessions was used a second time, so somebody may have a copy of\n"
        "it. The session was ended.\n\n"
        f"Device: {session.device or 'unknown'}\n"
        f"Address: {session.address or 'unknown'}\n"
        f"Signed in: {session.created_at:%Y-%m-%d %H:%M} UTC\n\n"
        "Sign in again. If you do not know this device, change your password as well.\n"
    )
    mail = {"to": account.user.email, "subject": "One of your sessions was ended", "text": text}
    async with acting_as(ctx, account).transaction(company_id=home_of(account)) as tx:
        if await SessionStore(tx).end(session.id):
            tx.record(TokenReused(session=session.view(current=None)))
            await tx.enqueue("mail.send", mail)


async def list_sessions(ctx: Context) -> Listing[SessionView]:
    """The caller's sessions, newest first."""
    found = await SessionStore(ctx.runtime.db).of_user(ctx.principal.user_id, ctx.now())
    views = [session.view(current=ctx.principal.session_id) for session in found]
    return paging.listing(views, of(ctx).limits.per_user)


async def end_session(ctx: Context, session_id: str) -> None:
    """End one of the caller's sessions; raises NotFound."""
    stepup.current_session_id(ctx)
    user_id = ctx.principal.user_id
    async with ctx.transaction(company_id=ctx.home_id) as tx:
        if not await SessionStore(tx).end(session_id, user_id=user_id):
            raise NotFound("There is no such session")
        tx.record(SessionEnded(session=Ref(id=session_id)))
    of(ctx).sessions.forget(session_id)


async def logout(ctx: Context) -> None:
    """End the session that the request was made in."""
    await end_session(ctx, stepup.current_session_id(ctx))


async def logout_everywhere(ctx: Context) -> None:
    """End every session of the caller."""
    own = stepup.current_session_id(ctx)
    user_id = ctx.principal.user_id
    async with ctx.transaction(company_id=ctx.home_id) as tx:
        await SessionStore(tx).end_of_user(user_id)
        tx.record(SessionsEnded(user=Ref(id=user_id)))
    of(ctx).sessions.forget(own)


async def step_up(ctx: Context, command: StepUp) -> None:
    """Prove oneself again; the session may do what needs that for 5 minutes."""
    session_id = stepup.current_session_id(ctx)
    await prove(ctx, command.password, code=command.code)
    await stepup.mark(ctx)
    async with ctx.transaction(company_id=ctx.home_id) as tx:
        tx.record(SessionSteppedUp(session=Ref(id=session_id)))
