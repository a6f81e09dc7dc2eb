"""The authenticator that the API's endpoints call: from a request's credentials to a principal."""

from dataclasses import replace

from novapulse.core.access import Principal, Role
from novapulse.core.context import Context, Runtime
from novapulse.core.errors import NotFound, Unauthenticated
from novapulse.core.http import RequestState
from novapulse.core.routing import PREFIX
from novapulse.identity import cookies
from novapulse.identity.model import CompanyEntered, MfaSetupRequired, Visit
from novapulse.identity.service import Identity
from novapulse.identity.store import CompanyStore

API_TOKEN_PREFIX = "nvp_"  # noqa: S105 - how a token begins is no secret
_COMPANY_HEADER = b"x-novapulse-company"
# What somebody may still do whose company requires the second factor that they lack.
_WITHOUT_MFA = {
    f"{PREFIX}/auth/{path}" for path in ("mfa", "mfa/setup", "mfa/verify", "logout", "logout-all")
}


async def authenticate(runtime: Runtime, state: RequestState) -> Principal:
    """The principal of a request's bearer token.

    An operator that names a company in `X-NovaPulse-Company` acts on that one.

    Raises:
        Unauthenticated: no token, or not a good one; or nobody who may act any more.
        MfaSetupRequired: the company wants a second factor first.
        TwoCredentials: a cookie came with it.
        NotFound: the named company does not exist.
    """
    cookies.require_one_credential(state.headers)
    scheme, _, token = state.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated()
    identity = runtime.feature(Identity)
    if token.startswith(API_TOKEN_PREFIX) and identity.api_tokens is not None:
        principal = await identity.api_tokens(runtime, token)
    else:
        principal = await _by_session(identity, token)
    standing = await identity.standings.get(principal.user_id)
    if standing.must_set_up_mfa and state.route not in _WITHOUT_MFA:
        raise MfaSetupRequired()
    return await _acting_on(runtime, principal, state)


async def _by_session(identity: Identity, token: str) -> Principal:
    claims = identity.tokens.verify(token)
    session = await identity.sessions.get(claims.sid)
    if session.user_id != claims.sub:
        raise Unauthenticated("The access token is not valid")
    account = (await identity.standings.get(session.user_id)).account
    return Principal(
        user_id=account.user.id,
        role=account.user.role,
        company_id=account.company_id,
        session_id=session.id,
        is_operator=account.user.role is Role.SUPER_ADMIN,
    )


async def _acting_on(runtime: Runtime, principal: Principal, state: RequestState) -> Principal:
    """An operator acts on the company that the header names; every request that does is noted."""
    named = state.headers.get(_COMPANY_HEADER)
    if not named or not principal.is_operator:
        return principal
    company = await CompanyStore(runtime.db.tenant(named.decode("latin-1"))).find()
    if company is None:
        raise NotFound("There is no such company")
    acting = replace(principal, company_id=company.id)
    ctx = Context(runtime, acting, request_id=state.request_id, request=state)
    async with ctx.transaction() as tx:
        tx.record(
            CompanyEntered(company=Visit(id=company.id, name=company.name, route=state.route))
        )
    return acting
