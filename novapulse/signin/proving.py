"""Proving oneself: a password or a code is looked at, and a failure is counted."""

from typing import Literal

import structlog

from novapulse.core.context import Context
from novapulse.core.crypto import Place
from novapulse.core.errors import Invalid, Unauthenticated
from novapulse.core.events import PLATFORM
from novapulse.identity.attempts import AttemptStore, code_key, password_key
from novapulse.identity.factors import Factor, FactorStore
from novapulse.identity.model import Account, BadCredentials, Standing
from novapulse.identity.refresh import digest
from novapulse.identity.service import acting_as, home_of, of
from novapulse.identity.store import FACTORS
from novapulse.signin import totp
from novapulse.signin.model import BadCode, ProofRefused, RecoveryCodeUsed, Refusal

log = structlog.get_logger("auth")


async def find_by_password(ctx: Context, email: str, password: str) -> Standing:
    """Whose address and password this is; every other case is the same BadCredentials.

    Somebody unknown, somebody locked out, a wrong password and a delay take the
    same steps, so that they take the same time.
    """
    identity = of(ctx)
    standing = await identity.accounts.find_standing_by_email(email)
    known_hash = standing.account.password_hash if standing else None
    fits = await identity.passwords.verify(known_hash, password)
    is_good = standing is not None and fits and standing.is_active
    attempts = AttemptStore(ctx.runtime.db)
    counts = await attempts.settle(password_key(email), ctx.now(), succeeded=is_good)
    if standing is None or not counts:
        await note_refusal(ctx, "password", standing.account if standing else None)
        raise BadCredentials()
    if identity.passwords.is_outdated(standing.account.password_hash):
        rehashed = await identity.passwords.hash(password)
        await identity.accounts.replace_password(standing.account, rehashed)
    return standing


async def own_standing(ctx: Context) -> Standing:
    """The caller as they are now, not as a moment ago."""
    standing = await of(ctx).accounts.find_standing(ctx.principal.user_id)
    if standing is None:
        raise Unauthenticated()
    return standing


async def prove_password(ctx: Context, password: str) -> Standing:
    """The caller, who typed the password again; raises BadCredentials."""
    own = await own_standing(ctx)
    return await find_by_password(ctx, own.account.user.email, password)


async def prove(ctx: Context, password: str, *, code: str | None = None) -> Standing:
    """The caller, who typed the password again, and a code where they have a second factor.

    Raises:
        BadCredentials, BadCode: not the right one, or a delay after wrong ones.
        Invalid: there is a second factor and no code was given.
    """
    standing = await prove_password(ctx, password)
    if standing.mfa_enabled:
        if code is None:
            raise Invalid.field("code", "is needed, because you have a second factor")
        await check_code(ctx, standing.account, code=code)
    return standing


async def check_code(ctx: Context, account: Account, *, code: str) -> None:
    """Use up a code of the app or a recovery code; raises BadCode, or Invalid for no such shape."""
    is_totp = totp.is_totp(code)
    now = ctx.now()
    attempts, key = AttemptStore(ctx.runtime.db), code_key(account.user.id)
    if await attempts.is_delayed(key, now):
        raise BadCode()
    factor = await FactorStore(ctx.runtime.db).find(account.user.id)
    if factor is None:
        is_used = False
    elif is_totp:
        is_used = await _burn_step(ctx, factor, code=code)
    else:
        is_used = await _burn_recovery_code(ctx, account, code=code)
    if not await attempts.settle(key, now, succeeded=is_used):
        await note_refusal(ctx, "code", account)
        raise BadCode()


async def note_refusal(
    ctx: Context, proof: Literal["password", "code"], account: Account | None
) -> None:
    """Log and record it, apart from what the request itself does, which is undone now.

    An unknown address is not kept: people type passwords there.
    """
    user_id = account.user.id if account else None
    address = ctx.request.address if ctx.request else ""
    log.warning("auth.refused", proof=proof, attemptedUserId=user_id, ip=address)
    home = home_of(account) if account else PLATFORM
    async with ctx.on_behalf_of(ctx.principal).transaction(company_id=home) as tx:
        tx.record(ProofRefused(user=Refusal(id=user_id or "unknown", proof=proof)))


def place_of(account: Account, field: str) -> Place:
    """Where a sealed secret of somebody's second factor stands."""
    return Place(FACTORS, account.user.id, field, account.company_id or "")


def find_step(ctx: Context, secret: str, code: str) -> int | None:
    window = ctx.runtime.settings.mfa.window
    return totp.find_step(secret, code, at=ctx.now().timestamp(), window=window)


async def _burn_step(ctx: Context, factor: Factor, *, code: str) -> bool:
    if factor.secret is None:
        return False
    place = Place(FACTORS, factor.id, "secret", factor.company_id or "")
    secret = ctx.runtime.keys.open(factor.secret, place).decode()
    step = find_step(ctx, secret, code)
    return step is not None and await FactorStore(ctx.runtime.db).burn_step(factor, step)


async def _burn_recovery_code(ctx: Context, account: Account, *, code: str) -> bool:
    user = account.user
    async with acting_as(ctx, account).transaction(company_id=home_of(account)) as tx:
        factors = FactorStore(tx)
        if not await factors.burn_recovery_code(user.id, digest(totp.canonical(code))):
            return False
        factor = await factors.find(user.id)
        left = len(factor.recovery_codes) if factor else 0
        tx.record(RecoveryCodeUsed(user=user))
        data = {"name": user.name, "left": left}
        await tx.enqueue(
            "mail.send", {"to": user.email, "template": "recovery_code_used", "data": data}
        )
    return True
