"""Use cases on API tokens: make, list, revoke, and tell whose a presented one is.

A token is `nvp_` and 256 random bits; only its SHA-256 is kept. It may what
its scopes and its owner's role both allow, at the moment of the request.
"""

import hashlib
import secrets
from contextlib import suppress
from datetime import datetime

from novapulse.core import errors, paging
from novapulse.core.access import Principal, Role, Scope, scopes_of
from novapulse.core.clock import to_utc
from novapulse.core.context import Context, Runtime, Transaction
from novapulse.core.documents import new_object_id
from novapulse.core.paging import Listing
from novapulse.identity import service as identity
from novapulse.identity import stepup
from novapulse.identity.model import Account
from novapulse.people.model import (
    MAX_API_TOKENS,
    ApiToken,
    ApiTokenCreated,
    ApiTokenRevoked,
    CreatedApiToken,
    NewApiToken,
    PageQuery,
    TooManyApiTokens,
)
from novapulse.people.store import (
    ApiTokenStore,
    find_api_token,
    touch_api_token,
)

PREFIX = "nvp_"
_HINT_CHARACTERS = len(PREFIX) + 4


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def create_api_token(ctx: Context, command: NewApiToken) -> CreatedApiToken:
    """A token for the caller; the answer is the only one that shows it.

    Raises:
        StepUpRequired: the session has not just proved itself again.
        Invalid: a scope that the caller's role does not have, or a moment in the past.
        TooManyApiTokens: the caller has as many as one may have.
    """
    ctx.require(Scope.API_TOKENS)
    await stepup.require(ctx)
    async with ctx.transaction(company_id=ctx.home_id) as tx:
        return await _create(
            tx, ctx.principal.user_id, role=ctx.principal.role, command=command, now=ctx.now()
        )


async def create_for(ctx: Context, owner: Account, command: NewApiToken) -> CreatedApiToken:
    """A token for somebody else, by the operator; raises as `create_api_token` does."""
    ctx.require(Scope.COMPANIES_WRITE)
    async with ctx.transaction(company_id=identity.home_of(owner)) as tx:
        return await _create(
            tx, owner.user.id, role=owner.user.role, command=command, now=ctx.now()
        )


async def _create(
    tx: Transaction, owner_id: str, *, role: Role, command: NewApiToken, now: datetime
) -> CreatedApiToken:
    _check_scopes(command.scopes, role)
    if command.expires_at is not None and command.expires_at <= now:
        raise errors.Invalid.field("expiresAt", "is in the past")
    secret = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken(
        id=new_object_id(),
        name=command.name,
        scopes=tuple(dict.fromkeys(command.scopes)),
        hint=secret[:_HINT_CHARACTERS],
        user_id=owner_id,
        expires_at=to_utc(command.expires_at) if command.expires_at else None,
        created_at=now,
    )
    tokens = ApiTokenStore(tx, user_id=owner_id)
    if await tokens.count(limit=MAX_API_TOKENS) >= MAX_API_TOKENS:
        raise TooManyApiTokens()
    await tokens.insert(token, token_hash=_digest(secret))
    tx.record(ApiTokenCreated(token=token))
    fields = {name: getattr(token, name) for name in token.__struct_fields__}
    return CreatedApiToken(**fields, token=secret)


def _check_scopes(scopes: tuple[Scope, ...], role: Role) -> None:
    allowed = scopes_of(role)
    for number, scope in enumerate(scopes):
        if scope not in allowed:
            raise errors.Invalid.field(f"scopes[{number}]", f"your role does not have {scope}")


async def list_api_tokens(ctx: Context, query: PageQuery) -> Listing[ApiToken]:
    """The caller's tokens, newest first."""
    ctx.require(Scope.API_TOKENS)
    rows = await ApiTokenStore(ctx.read_home(), user_id=ctx.principal.user_id).page(query)
    return paging.listing(rows, query.limit)


async def revoke_api_token(ctx: Context, token_id: str) -> None:
    """End one of the caller's tokens at once; raises NotFound."""
    ctx.require(Scope.API_TOKENS)
    async with ctx.transaction(company_id=ctx.home_id) as tx:
        tokens = ApiTokenStore(tx, user_id=ctx.principal.user_id)
        token = await tokens.get(token_id)
        await tokens.delete(token_id)
        tx.record(ApiTokenRevoked(token=token))


async def principal_of(runtime: Runtime, presented: str) -> Principal:
    """Whoever an API token stands for, with what both it and its owner's role allow.

    Raises Unauthenticated: unknown, revoked or expired, or its owner or their
    company is locked out.
    """
    now = runtime.clock()
    token = await find_api_token(runtime.db, _digest(presented))
    if token is None or (token.expires_at is not None and token.expires_at <= now):
        raise errors.Unauthenticated("The API token is not valid")
    account = (await runtime.feature(identity.Identity).standings.get(token.user_id)).account
    # A use that can not be noted, on a full disk, is still a use.
    with suppress(errors.StorageFull):
        await touch_api_token(runtime.db, token.id, now=now)
    role = account.user.role
    return Principal(
        user_id=account.user.id,
        role=role,
        company_id=account.company_id,
        is_operator=role is Role.SUPER_ADMIN,
        scopes=frozenset(token.scopes) & scopes_of(role),
    )
