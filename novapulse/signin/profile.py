"""Use cases of one's own profile: name and address."""

import time
from datetime import timedelta

import msgspec
from msgspec import UNSET

from novapulse.core.context import Context, Transaction
from novapulse.core.errors import TransientConflict, VersionConflict
from novapulse.identity import stepup
from novapulse.identity.model import EmailTaken, Standing, User, UserUpdated
from novapulse.identity.service import acting_as, home_of, of
from novapulse.identity.store import AccountStore
from novapulse.signin.model import (
    ChangeProfile,
    ConfirmEmail,
    EmailChangeRequested,
    LinkGone,
    Me,
    Ref,
)
from novapulse.signin.passwords import keep_pace
from novapulse.signin.proving import own_standing
from novapulse.signin.store import Purpose, Ticket, TicketStore

CONFIRMATION_LASTS = timedelta(hours=24)


async def me(ctx: Context) -> Me:
    """The caller's own profile and company."""
    return _view(await own_standing(ctx))


def _view(standing: Standing) -> Me:
    user = standing.account.user
    return Me(
        id=user.id,
        email=user.email,
        name=user.name,
        role=user.role,
        company=standing.company,
        mfa_enabled=standing.mfa_enabled,
        created_at=user.created_at,
        version=user.version,
    )


async def change(ctx: Context, change: ChangeProfile, *, if_version: int | None = None) -> Me:
    """Another name now; another address once the link in the mail to it was followed.

    The old address is told that it was asked for. Whether the new one has an account
    already is not told.

    Raises:
        StepUpRequired: for another address.
        VersionConflict: saved by someone else since `if_version`.
    """
    stepup.current_session_id(ctx)
    started = time.monotonic()
    if change.email is not UNSET:
        await stepup.require(ctx)
    standing = await own_standing(ctx)
    before = standing.account.user
    if if_version is not None and before.version != if_version:
        raise VersionConflict()
    if change.name is not UNSET and change.name != before.name:
        after = _next(ctx, before, name=change.name)
        async with ctx.transaction(company_id=home_of(standing.account)) as tx:
            if not await AccountStore(tx).save_user(after, if_version=before.version):
                raise TransientConflict() if if_version is None else VersionConflict()
            tx.record(UserUpdated(user=after, changed=("name",)))
        of(ctx).standings.forget(before.id)
        account = msgspec.structs.replace(standing.account, user=after)
        standing = msgspec.structs.replace(standing, account=account)
    if change.email is not UNSET:
        await _offer_email(ctx, standing, change.email.strip())
        await keep_pace(started)
    return _view(standing)


async def _offer_email(ctx: Context, standing: Standing, email: str) -> None:
    """Mail a link to the new address, unless that has an account, and tell the old one.

    The old one hears of it in either case, so that this tells nobody who exists.
    """
    user = standing.account.user
    holder = await of(ctx).accounts.find_by_email(email)
    if holder is not None and holder.user.id == user.id:
        return
    async with ctx.transaction(company_id=home_of(standing.account)) as tx:
        if holder is None:
            await _mail_link(ctx, tx, user=user, email=email)
            tx.record(EmailChangeRequested(user=Ref(id=user.id)))
        text = (
            f"Hello {user.name},\n\nsomebody asked that your account sign in with another e-mail "
            "address. If that was not you, change your password: that withdraws it.\n"
        )
        mail = {"to": user.email, "subject": "Another e-mail address was asked for", "text": text}
        await tx.enqueue("mail.send", mail)


async def _mail_link(ctx: Context, tx: Transaction, *, user: User, email: str) -> None:
    tickets = TicketStore(tx)
    await tickets.withdraw(Purpose.EMAIL, user.id)
    expires_at = ctx.now() + CONFIRMATION_LASTS
    token = await tickets.issue(Purpose.EMAIL, user.id, expires_at=expires_at, email=email)
    link = f"{ctx.runtime.settings.server.base_url}/confirm-email?token={token}"
    text = (
        f"Hello {user.name},\n\nopen this link within 24 hours to sign in with this address "
        f"from now on:\n\n{link}\n\nIf you did not ask for this, do nothing.\n"
    )
    mail = {"to": email, "subject": "Confirm your new e-mail address", "text": text}
    await tx.enqueue("mail.send", mail)


async def confirm_email(ctx: Context, command: ConfirmEmail) -> None:
    """Take over the address whose mail the token comes from; raises LinkGone."""
    tickets = TicketStore(ctx.runtime.db)
    ticket = await tickets.find(Purpose.EMAIL, command.token, now=ctx.now())
    standing = await of(ctx).accounts.find_standing(ticket.user_id) if ticket else None
    if ticket is None or standing is None or not standing.is_active:
        raise LinkGone()
    try:
        await _take_email(acting_as(ctx, standing.account), standing, ticket)
    except EmailTaken as error:  # by somebody who was quicker; that is all the same from here
        await tickets.take(ticket)
        raise LinkGone() from error
    of(ctx).standings.forget(ticket.user_id)


async def _take_email(ctx: Context, standing: Standing, ticket: Ticket) -> None:
    before = standing.account.user
    after = _next(ctx, before, email=ticket.email)
    async with ctx.transaction(company_id=home_of(standing.account)) as tx:
        tickets = TicketStore(tx)
        if not await tickets.take(ticket):
            raise LinkGone()
        await tickets.withdraw(Purpose.RESET, before.id)  # went to the address of before
        if not await AccountStore(tx).save_user(after, if_version=before.version):
            raise TransientConflict()
        tx.record(UserUpdated(user=after, changed=("email",)))
        text = (
            f"Hello {before.name},\n\nyour account signs in with another e-mail address from now "
            "on. If that was not you, tell your administrator at once.\n"
        )
        mail = {"to": before.email, "subject": "Your e-mail address was changed", "text": text}
        await tx.enqueue("mail.send", mail)


def _next(ctx: Context, user: User, **fields: str) -> User:
    return msgspec.structs.replace(user, **fields, updated_at=ctx.now(), version=user.version + 1)
