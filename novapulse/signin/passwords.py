"""Use cases of one's password: change it, and get a new one when it was forgotten."""

import asyncio
import time
from datetime import timedelta

from novapulse.core.context import Context
from novapulse.identity import stepup
from novapulse.identity.attempts import AttemptStore, password_key
from novapulse.identity.model import Standing
from novapulse.identity.service import acting_as, home_of, of
from novapulse.identity.sessions import end_access
from novapulse.identity.store import AccountStore
from novapulse.identity.strength import check_new_password
from novapulse.signin.model import (
    ChangePassword,
    ForgotPassword,
    LinkGone,
    PasswordChanged,
    PasswordResetRequested,
    Ref,
    ResetPassword,
)
from novapulse.signin.proving import prove_password
from novapulse.signin.store import Purpose, Ticket, TicketStore

RESET_LASTS = timedelta(minutes=30)
# Answers that must not tell who exists come after this long, whatever was done meanwhile.
PACE_SECONDS = 0.25


async def change(ctx: Context, command: ChangePassword) -> None:
    """Another password; all other sessions and all tickets end.

    Raises:
        BadCredentials: the current one is wrong.
        Invalid: the new one would be guessed first.
    """
    session_id = stepup.current_session_id(ctx)
    standing = await prove_password(ctx, command.current_password)
    _check(standing, command.new_password, path="newPassword")
    await _set_password(ctx, standing, password=command.new_password, keep=session_id)


async def forgot(ctx: Context, command: ForgotPassword) -> None:
    """Mail a link for a new password, if the address has an account; tells nobody whether."""
    started = time.monotonic()
    standing = await of(ctx).accounts.find_standing_by_email(command.email)
    if standing is not None and standing.is_active:
        await _mail_link(ctx, standing)
    await keep_pace(started)


async def keep_pace(started: float) -> None:
    """Wait until the time for an answer that tells nothing has come."""
    await asyncio.sleep(max(0.0, started + PACE_SECONDS - time.monotonic()))


async def _mail_link(ctx: Context, standing: Standing) -> None:
    account, user = standing.account, standing.account.user
    async with acting_as(ctx, account).transaction(company_id=home_of(account)) as tx:
        tickets = TicketStore(tx)
        await tickets.withdraw(Purpose.RESET, user.id)
        token = await tickets.issue(Purpose.RESET, user.id, expires_at=ctx.now() + RESET_LASTS)
        tx.record(PasswordResetRequested(user=Ref(id=user.id)))
        link = f"{ctx.runtime.settings.server.base_url}/reset-password?token={token}"
        minutes = RESET_LASTS // timedelta(minutes=1)
        data = {"name": user.name, "link": link, "minutes": minutes}
        await tx.enqueue(
            "mail.send", {"to": user.email, "template": "password_reset", "data": data}
        )


async def reset(ctx: Context, command: ResetPassword) -> None:
    """A new password for whoever holds a mailed token; all sessions and tickets end.

    A second factor stays on, and wrong codes stay counted. Raises LinkGone, or
    Invalid for a password that would be guessed first: the token is good for
    another try then.
    """
    tickets = TicketStore(ctx.runtime.db)
    ticket = await tickets.find(Purpose.RESET, command.token, now=ctx.now())
    standing = await of(ctx).accounts.find_standing(ticket.user_id) if ticket else None
    if ticket is None or standing is None or not standing.is_active:
        raise LinkGone()
    _check(standing, command.password, path="password")
    acting = acting_as(ctx, standing.account)
    await _set_password(acting, standing, password=command.password, ticket=ticket)
    # Not those of codes: whoever reads the mailbox could guess on for ever.
    await AttemptStore(ctx.runtime.db).clear(password_key(standing.account.user.email))


def _check(standing: Standing, password: str, *, path: str) -> None:
    company_name = standing.company.name if standing.company else ""
    email = standing.account.user.email
    check_new_password(password, email=email, company_name=company_name, path=path)


async def _set_password(
    ctx: Context,
    standing: Standing,
    *,
    password: str,
    keep: str | None = None,
    ticket: Ticket | None = None,
) -> None:
    account, user = standing.account, standing.account.user
    password_hash = await of(ctx).passwords.hash(password)
    async with ctx.transaction(company_id=home_of(account)) as tx:
        if ticket is not None and not await TicketStore(tx).take(ticket):
            raise LinkGone()
        await AccountStore(tx).set_password(user.id, password_hash)
        await end_access(tx, user.id, keep=keep)
        tx.record(PasswordChanged(user=user))
        data = {"name": user.name}
        await tx.enqueue(
            "mail.send", {"to": user.email, "template": "password_changed", "data": data}
        )
