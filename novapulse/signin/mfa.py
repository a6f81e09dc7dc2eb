"""Use cases of the second factor: set up, verify, disable, new recovery codes."""

import asyncio
from datetime import timedelta

from novapulse.core.context import Context
from novapulse.identity import stepup
from novapulse.identity.attempts import AttemptStore, code_key
from novapulse.identity.factors import Factor, FactorStore, Pending
from novapulse.identity.model import Standing
from novapulse.identity.refresh import digest
from novapulse.identity.service import home_of, of
from novapulse.identity.sessions import SessionStore
from novapulse.signin import totp
from novapulse.signin.model import (
    BadCode,
    MfaDisabled,
    MfaEnabled,
    MfaNotEnabled,
    MfaSetup,
    MfaSetupStarted,
    MfaStatus,
    NothingPending,
    ProveMfa,
    RecoveryCodes,
    RecoveryCodesRenewed,
    Ref,
    SetUpMfa,
    VerifyMfa,
)
from novapulse.signin.proving import (
    find_step,
    note_refusal,
    own_standing,
    place_of,
    prove,
    prove_password,
)

PENDING_LASTS = timedelta(minutes=10)


async def status(ctx: Context) -> MfaStatus:
    """Whether the caller has a second factor, and how many recovery codes are left."""
    factor = await FactorStore(ctx.runtime.db).find(ctx.principal.user_id)
    if factor is None or factor.secret is None:
        return MfaStatus(enabled=False, recovery_codes_left=0, enabled_at=None)
    left = len(factor.recovery_codes)
    return MfaStatus(enabled=True, recovery_codes_left=left, enabled_at=factor.enabled_at)


async def set_up(ctx: Context, command: SetUpMfa) -> MfaSetup:
    """A new secret and recovery codes, which count once a code was verified.

    A second factor that is on stays on meanwhile. Raises BadCredentials.
    """
    stepup.current_session_id(ctx)
    account = (await prove_password(ctx, command.password)).account
    secret, codes = totp.new_secret(), totp.new_recovery_codes()
    pending = Pending(
        secret=ctx.runtime.keys.seal(secret.encode(), place_of(account, "pending.secret")),
        recovery_codes=_hashes(codes),
        expires_at=ctx.now() + PENDING_LASTS,
    )
    async with ctx.transaction(company_id=home_of(account)) as tx:
        factors = FactorStore(tx)
        await factors.set_pending(account.user.id, account.company_id, pending=pending)
        tx.record(MfaSetupStarted(user=Ref(id=account.user.id)))
    uri = totp.otpauth_uri(secret, account.user.email)
    qr_code = await asyncio.to_thread(totp.qr_code, uri)  # some 20 ms
    return MfaSetup(secret=secret, otpauth_uri=uri, qr_code=qr_code, recovery_codes=codes)


async def verify(ctx: Context, command: VerifyMfa) -> MfaStatus:
    """Switch to the pending second factor, with a code of it; other sessions end.

    Raises:
        NothingPending: nothing was set up in the last 10 minutes.
        BadCode: not its code, or a delay after wrong ones.
    """
    session_id = stepup.current_session_id(ctx)
    now, user_id = ctx.now(), ctx.principal.user_id
    standing = await own_standing(ctx)
    account = standing.account
    factor = await FactorStore(ctx.runtime.db).find(user_id)
    pending = factor.pending if factor else None
    if pending is None or pending.expires_at <= now:
        raise NothingPending()
    attempts = AttemptStore(ctx.runtime.db)
    secret = ctx.runtime.keys.open(pending.secret, place_of(account, "pending.secret"))
    step = find_step(ctx, secret.decode(), command.code)
    counts = await attempts.settle(code_key(user_id), now, succeeded=step is not None)
    if step is None or not counts:
        await note_refusal(ctx, "code", account)
        raise BadCode()
    enabled = Factor(
        id=user_id,
        company_id=account.company_id,
        secret=ctx.runtime.keys.seal(secret, place_of(account, "secret")),
        enabled_at=now,
        last_step=step,
        recovery_codes=pending.recovery_codes,
    )
    async with ctx.transaction(company_id=home_of(account)) as tx:
        if not await FactorStore(tx).enable(user_id, pending, enabled=enabled):
            raise NothingPending()
        await SessionStore(tx).end_of_user(user_id, keep=session_id)
        tx.record(MfaEnabled(user=account.user))
        await tx.enqueue("mail.send", _mail(standing, "mfa_enabled"))
    of(ctx).standings.forget(user_id)
    left = len(enabled.recovery_codes)
    return MfaStatus(enabled=True, recovery_codes_left=left, enabled_at=now)


async def disable(ctx: Context, command: ProveMfa) -> None:
    """Remove the caller's second factor; other sessions end.

    Raises MfaNotEnabled, BadCredentials or BadCode.
    """
    session_id = stepup.current_session_id(ctx)
    standing = await _prove(ctx, command)
    user = standing.account.user
    async with ctx.transaction(company_id=home_of(standing.account)) as tx:
        if not await FactorStore(tx).remove(user.id):
            raise MfaNotEnabled()
        await SessionStore(tx).end_of_user(user.id, keep=session_id)
        tx.record(MfaDisabled(user=user))
        await tx.enqueue("mail.send", _mail(standing, "mfa_disabled"))
    of(ctx).standings.forget(user.id)


async def renew_recovery_codes(ctx: Context, command: ProveMfa) -> RecoveryCodes:
    """Ten new recovery codes; the old ones are dead. Raises as `disable` does."""
    stepup.current_session_id(ctx)
    standing = await _prove(ctx, command)
    codes = totp.new_recovery_codes()
    user_id = standing.account.user.id
    async with ctx.transaction(company_id=home_of(standing.account)) as tx:
        if not await FactorStore(tx).replace_recovery_codes(user_id, _hashes(codes)):
            raise MfaNotEnabled()
        tx.record(RecoveryCodesRenewed(user=Ref(id=user_id)))
    return RecoveryCodes(recovery_codes=codes)


async def _prove(ctx: Context, command: ProveMfa) -> Standing:
    if not (await own_standing(ctx)).mfa_enabled:
        raise MfaNotEnabled()
    return await prove(ctx, command.password, code=command.code)


def _hashes(codes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(digest(totp.canonical(code)) for code in codes)


def _mail(standing: Standing, template: str) -> dict[str, object]:
    user = standing.account.user
    return {"to": user.email, "template": template, "data": {"name": user.name}}
