"""Use cases on companies: one's own, and all of them for the operator."""

import msgspec
from msgspec import UNSET

from novapulse.core import paging
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.documents import changed_fields, new_object_id
from novapulse.core.errors import VersionConflict
from novapulse.core.paging import Listing
from novapulse.identity.model import Company
from novapulse.identity.sessions import SessionStore
from novapulse.people.model import (
    ChangeCompany,
    ChangeOwnCompany,
    CompanyCreated,
    CompanyQuery,
    CompanyStats,
    CompanyUpdated,
    NewCompany,
)
from novapulse.people.store import (
    MemberStore,
    OwnCompanyStore,
    page_of_companies,
)


async def get_own_company(ctx: Context) -> Company:
    """The caller's company."""
    ctx.require(Scope.COMPANY_READ)
    return await OwnCompanyStore(ctx.read()).get()


async def change_own_company(
    ctx: Context, change: ChangeOwnCompany, *, if_version: int | None = None
) -> Company:
    """Change some fields; raises VersionConflict when saved by someone else since `if_version`."""
    ctx.require(Scope.COMPANY_WRITE)
    return await _change(ctx, ctx.company_id, change=change, if_version=if_version)


async def company_stats(ctx: Context) -> CompanyStats:
    """How many members, tasks, open invites and webhooks the company has."""
    ctx.require(Scope.COMPANY_STATS)
    session = ctx.read()
    company = OwnCompanyStore(session)
    return CompanyStats(
        users=await MemberStore(session).counts(),
        tasks=await company.count_tasks(),
        pending_invites=await company.count_open_invites(),
        webhooks=await company.count_webhooks(),
    )


async def create_company(ctx: Context, command: NewCompany) -> Company:
    """An empty company; its first administrator is invited afterwards."""
    ctx.require(Scope.COMPANIES_WRITE)
    now = ctx.now()
    company = Company(id=new_object_id(), name=command.name, created_at=now, updated_at=now)
    async with ctx.transaction(company_id=company.id) as tx:
        await OwnCompanyStore(tx).insert(company)
        tx.record(CompanyCreated(company=company))
    return company


async def list_companies(ctx: Context, query: CompanyQuery) -> Listing[Company]:
    """Every company of the installation, newest first."""
    ctx.require(Scope.COMPANIES_READ)
    return paging.listing(await page_of_companies(ctx.runtime.db, query), query.limit)


async def get_company(ctx: Context, company_id: str) -> Company:
    """Raises NotFound."""
    ctx.require(Scope.COMPANIES_READ)
    return await OwnCompanyStore(ctx.on_company(company_id).read()).get()


async def change_company(
    ctx: Context, company_id: str, *, change: ChangeCompany, if_version: int | None = None
) -> Company:
    """Change some fields; suspending ends every session of the company and keeps everybody out.

    Raises NotFound, or VersionConflict when saved by someone else since `if_version`.
    """
    ctx.require(Scope.COMPANIES_WRITE)
    return await _change(ctx, company_id, change=change, if_version=if_version)


async def _change(
    ctx: Context,
    company_id: str,
    *,
    change: ChangeOwnCompany | ChangeCompany,
    if_version: int | None,
) -> Company:
    async with ctx.transaction(company_id=company_id) as tx:
        companies = OwnCompanyStore(tx)
        before = await companies.get()
        if if_version is not None and before.version != if_version:
            raise VersionConflict()
        fields = {name: getattr(change, name) for name in change.__struct_fields__}
        given = {name: value for name, value in fields.items() if value is not UNSET}
        after = msgspec.structs.replace(
            before, **given, updated_at=ctx.now(), version=before.version + 1
        )
        changed = changed_fields(before, after)
        if not changed:
            return before
        await companies.save(after, if_version=before.version)
        if after.status == "suspended":
            await SessionStore(tx).end_of_company(company_id)
        tx.record(CompanyUpdated(company=after, changed=changed))
    return after
