"""An operator acting on a company: every request that does is written down there."""

from dataclasses import replace

import msgspec

from novapulse.core.access import Principal
from novapulse.core.context import Context, Runtime
from novapulse.core.events import Event, event
from novapulse.core.http import RequestState
from novapulse.identity.model import Company


class Visit(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which company was entered, and what was asked there."""

    id: str
    name: str
    route: str


@event("company.entered", is_public=False)
class CompanyEntered(Event, frozen=True, kw_only=True):
    company: Visit


async def enter(
    runtime: Runtime, operator: Principal, *, company: Company, state: RequestState
) -> Principal:
    """The operator as it acts on `company`; raises what the store raises when that is not noted."""
    acting = replace(operator, company_id=company.id)
    ctx = Context(runtime, acting, request_id=state.request_id, request=state)
    async with ctx.transaction() as tx:
        visit = Visit(id=company.id, name=company.name, route=state.route)
        tx.record(CompanyEntered(company=visit))
    return acting
