"""Opening a session, and what a process keeps to tell who somebody is."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog

from novapulse.core.access import Principal, Role
from novapulse.core.context import Context, Runtime
from novapulse.core.documents import new_object_id
from novapulse.core.events import PLATFORM
from novapulse.core.live import LiveCache
from novapulse.identity.devices import note_sign_in
from novapulse.identity.model import (
    Account,
    Company,
    NewSession,
    Session,
    SessionStarted,
    Standing,
)
from novapulse.identity.passwords import Passwords
from novapulse.identity.refresh import RefreshTokens, digest
from novapulse.identity.sessions import Limits, SessionStore
from novapulse.identity.store import AccountStore
from novapulse.identity.tokens import AccessTokens, TokenKeys

_LONGEST_DEVICE = 200
log = structlog.get_logger("auth")


class Identity:
    """What identity keeps in a process: keys, the hasher, the caches of who is live.

    `api_tokens` tells whom a presented API token stands for; its package is above this one.
    """

    api_tokens: Callable[[Runtime, str], Awaitable[Principal]] | None = None

    def __init__(
        self, runtime: Runtime, keys: TokenKeys, *, refresh_key: bytes, setup_token_file: Path
    ) -> None:
        auth = runtime.settings.auth
        self.keys = keys
        self.accounts = AccountStore(runtime.db)
        self.passwords = Passwords(
            memory_kib=auth.argon2_memory_kib, time_cost=auth.argon2_time_cost
        )
        self.tokens = AccessTokens(
            keys, lifetime_seconds=auth.access_token_seconds, clock=runtime.clock
        )
        self.refresh_tokens = RefreshTokens(refresh_key)
        self.limits = Limits(
            idle=timedelta(seconds=auth.session_idle_seconds),
            absolute=timedelta(seconds=auth.session_seconds),
            per_user=auth.sessions_per_user,
        )
        self.setup_token_file = setup_token_file
        rows = SessionStore(runtime.db)
        self.sessions = LiveCache(lambda session_id: rows.find(session_id, runtime.clock()))
        self.standings = LiveCache(self._active)

    async def _active(self, user_id: str) -> Standing | None:
        standing = await self.accounts.find_standing(user_id)
        return standing if standing and standing.is_active else None


def of(ctx: Context) -> Identity:
    return ctx.runtime.feature(Identity)


def home_of(account: Account) -> str:
    """Where an account's events and mails belong to."""
    return account.company_id or PLATFORM


def acting_as(ctx: Context, account: Account) -> Context:
    """The request of somebody who just proved who they are."""
    principal = Principal(
        user_id=account.user.id,
        role=account.user.role,
        company_id=account.company_id,
        is_operator=account.user.role is Role.SUPER_ADMIN,
    )
    return ctx.on_behalf_of(principal)


async def open_session(
    ctx: Context, account: Account, *, company: Company | None = None
) -> NewSession:
    """Sign somebody in who proved who they are; with too many sessions the oldest ends."""
    identity = of(ctx)
    now = ctx.now()
    session_id = new_object_id()
    refresh_token = identity.refresh_tokens.first(session_id)
    request = ctx.request
    device = request.headers.get(b"user-agent", b"").decode("latin-1") if request else ""
    session = Session(
        id=session_id,
        user_id=account.user.id,
        company_id=account.company_id,
        device="".join(filter(str.isprintable, device))[:_LONGEST_DEVICE],
        address=request.address if request else "",
        created_at=now,
        last_used_at=now,
        expires_at=now + min(identity.limits.idle, identity.limits.absolute),
        ends_at=now + identity.limits.absolute,
        token_hash=digest(refresh_token),
    )
    async with acting_as(ctx, account).transaction(company_id=home_of(account)) as tx:
        await SessionStore(tx).insert(session)
        tx.record(SessionStarted(session=session.view(current=None)))
        await note_sign_in(tx, account.user, session)
    await SessionStore(ctx.runtime.db).end_oldest(account.user.id, keep=identity.limits.per_user)
    log.info("auth.signed_in", userId=account.user.id, sessionId=session.id, ip=session.address)
    return new_session(ctx, session, account=account, refresh_token=refresh_token, company=company)


def new_session(
    ctx: Context,
    session: Session,
    *,
    account: Account,
    refresh_token: str,
    company: Company | None = None,
) -> NewSession:
    """A session with the tokens for it."""
    tokens = of(ctx).tokens
    return NewSession(
        session=session,
        refresh_token=refresh_token,
        access_token=tokens.issue(session, account.user.role),
        expires_in=tokens.lifetime_seconds,
        user=account.user,
        company=company or msgspec.UNSET,
    )
