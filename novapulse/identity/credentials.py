"""The authenticator that the API's endpoints call."""

from novapulse.core.access import Principal, Role
from novapulse.core.context import Runtime
from novapulse.core.errors import NotFound, Unauthenticated
from novapulse.core.http import RequestState
from novapulse.identity import tokens
from novapulse.identity.service import Identity
from novapulse.identity.store import CompanyStore

_COMPANY_HEADER = b"x-novapulse-company"


async def authenticate(runtime: Runtime, state: RequestState) -> Principal:
    """The principal of a request's bearer token; raises Unauthenticated.

    An operator that names a company in `X-NovaPulse-Company` acts on that one;
    a company that does not exist is NotFound.
    """
    scheme, _, token = state.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated()
    identity = runtime.feature(Identity)
    claims = tokens.verify(identity.keys, token.strip())
    session = await identity.sessions.get(claims.sid)
    is_operator = session.role is Role.SUPER_ADMIN
    company_id = session.company_id
    if is_operator and (named := state.headers.get(_COMPANY_HEADER)):
        company_id = named.decode("latin-1")
        if await CompanyStore(runtime.db.tenant(company_id)).find() is None:
            raise NotFound("There is no such company")
    return Principal(
        user_id=session.user_id,
        role=session.role,
        company_id=company_id,
        session_id=session.id,
        is_operator=is_operator,
    )
