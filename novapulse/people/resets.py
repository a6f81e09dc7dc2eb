"""Helping somebody in again who lost their password, their second factor or their patience."""

import secrets

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.identity import attempts, stepup
from novapulse.identity.factors import FactorStore
from novapulse.identity.model import Account, User
from novapulse.identity.service import home_of, of
from novapulse.identity.sessions import SessionStore, end_access
from novapulse.identity.store import AccountStore
from novapulse.people.model import MfaReset, PasswordReset, UserUnlocked
from novapulse.people.store import MemberStore


async def reset_member_mfa(ctx: Context, user_id: str) -> None:
    """Take the second factor off a member; every session of theirs ends.

    Raises NotFound, or StepUpRequired when the session has not just proved itself again.
    """
    ctx.require(Scope.USERS_ADMIN)
    user = await MemberStore(ctx.read()).get(user_id)
    await stepup.require(ctx)
    await _take_factor_off(ctx, user, home=ctx.company_id)


async def reset_mfa(ctx: Context, account: Account) -> None:
    """Take the second factor off anybody: for the operator."""
    ctx.require(Scope.COMPANIES_WRITE)
    await _take_factor_off(ctx, account.user, home=home_of(account))


async def _take_factor_off(ctx: Context, user: User, *, home: str) -> None:
    async with ctx.transaction(company_id=home) as tx:
        if not await FactorStore(tx).remove(user.id):
            return
        await SessionStore(tx).end_of_user(user.id)
        tx.record(MfaReset(user=user))
        mail = {"to": user.email, "template": "mfa_disabled", "data": {"name": user.name}}
        await tx.enqueue("mail.send", mail)
    of(ctx).standings.forget(user.id)


async def reset_password(ctx: Context, account: Account) -> str:
    """A random password, which is returned this once; a second factor stays.

    Every session ends, and with them the links that were mailed before.
    """
    ctx.require(Scope.COMPANIES_WRITE)
    user, password = account.user, random_password()
    password_hash = await of(ctx).passwords.hash(password)
    async with ctx.transaction(company_id=home_of(account)) as tx:
        await AccountStore(tx).set_password(user.id, password_hash)
        await end_access(tx, user.id)
        await attempts.forget_failures(tx, user)
        tx.record(PasswordReset(user=user))
        mail = {"to": user.email, "template": "password_changed", "data": {"name": user.name}}
        await tx.enqueue("mail.send", mail)
    return password


async def unlock(ctx: Context, account: Account) -> None:
    """Forget failed sign-ins, so that the next one is not delayed."""
    ctx.require(Scope.COMPANIES_WRITE)
    async with ctx.transaction(company_id=home_of(account)) as tx:
        await attempts.forget_failures(tx, account.user)
        tx.record(UserUnlocked(user=account.user))


def random_password() -> str:
    return secrets.token_urlsafe(18)
