"""`/company`, `/companies`, `/users` and `/api-tokens`."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Routes
from novapulse.identity.model import Company, User
from novapulse.people import api_tokens, companies, members, resets
from novapulse.people.model import (
    ApiToken,
    ChangeCompany,
    ChangeMember,
    ChangeOwnCompany,
    CompanyQuery,
    CompanyStats,
    CreatedApiToken,
    MemberQuery,
    NewApiToken,
    NewCompany,
    PageQuery,
)

routes = Routes("people")


@routes.add("GET", "/company", scope=Scope.COMPANY_READ)
async def get_own_company(ctx: Context) -> Company:
    """Read the own company."""
    return await companies.get_own_company(ctx)


@routes.add("PATCH", "/company", scope=Scope.COMPANY_WRITE)
async def change_own_company(ctx: Context, body: ChangeOwnCompany, if_match: int | None) -> Company:
    """Change the own company; `If-Match` guards against lost updates."""
    return await companies.change_own_company(ctx, body, if_version=if_match)


@routes.add("GET", "/company/stats", scope=Scope.COMPANY_STATS)
async def company_stats(ctx: Context) -> CompanyStats:
    """Count the own company's members, tasks, open invites and webhooks."""
    return await companies.company_stats(ctx)


@routes.add("GET", "/companies", scope=Scope.COMPANIES_READ)
async def list_companies(ctx: Context, query: CompanyQuery) -> Listing[Company]:
    """List every company of the installation, newest first."""
    return await companies.list_companies(ctx, query)


@routes.add("POST", "/companies", scope=Scope.COMPANIES_WRITE, status=201)
async def create_company(ctx: Context, body: NewCompany) -> Company:
    """Create an empty company; invite its first administrator next."""
    return await companies.create_company(ctx, body)


@routes.add("GET", "/companies/{id}", scope=Scope.COMPANIES_READ)
async def get_company(ctx: Context, company_id: str) -> Company:
    """Read one company."""
    return await companies.get_company(ctx, company_id)


@routes.add("PATCH", "/companies/{id}", scope=Scope.COMPANIES_WRITE)
async def change_company(
    ctx: Context, company_id: str, *, body: ChangeCompany, if_match: int | None
) -> Company:
    """Change a company; suspending it ends all its sessions and keeps its members out."""
    return await companies.change_company(ctx, company_id, change=body, if_version=if_match)


@routes.add("GET", "/users", scope=Scope.USERS_READ)
async def list_users(ctx: Context, query: MemberQuery) -> Listing[User]:
    """List the company's users, newest first; `q` is the beginning of a name or an address."""
    return await members.list_members(ctx, query)


@routes.add("GET", "/users/{id}", scope=Scope.USERS_READ)
async def get_user(ctx: Context, user_id: str) -> User:
    """Read one user."""
    return await members.get_member(ctx, user_id)


@routes.add("PATCH", "/users/{id}", scope=Scope.USERS_WRITE)
async def change_user(
    ctx: Context, user_id: str, *, body: ChangeMember, if_match: int | None
) -> User:
    """Change a user's name, role or leader; `If-Match` guards against lost updates."""
    return await members.change_member(ctx, user_id, change=body, if_version=if_match)


@routes.add("POST", "/users/{id}/disable", scope=Scope.USERS_DISABLE)
async def disable_user(ctx: Context, user_id: str) -> User:
    """Sign a user out everywhere and keep them out."""
    return await members.disable_member(ctx, user_id)


@routes.add("POST", "/users/{id}/enable", scope=Scope.USERS_DISABLE)
async def enable_user(ctx: Context, user_id: str) -> User:
    """Let a disabled user in again."""
    return await members.enable_member(ctx, user_id)


@routes.add("POST", "/users/{id}/mfa/reset", scope=Scope.USERS_ADMIN)
async def reset_user_mfa(ctx: Context, user_id: str) -> None:
    """Take the second factor off a user who lost it; needs a fresh confirmation."""
    await resets.reset_member_mfa(ctx, user_id)


@routes.add("GET", "/api-tokens", scope=Scope.API_TOKENS)
async def list_api_tokens(ctx: Context, query: PageQuery) -> Listing[ApiToken]:
    """List the caller's API tokens, newest first."""
    return await api_tokens.list_api_tokens(ctx, query)


@routes.add("POST", "/api-tokens", scope=Scope.API_TOKENS, status=201)
async def create_api_token(ctx: Context, body: NewApiToken) -> CreatedApiToken:
    """Make an API token, which is shown only now; needs a fresh confirmation."""
    return await api_tokens.create_api_token(ctx, body)


@routes.add("DELETE", "/api-tokens/{id}", scope=Scope.API_TOKENS)
async def revoke_api_token(ctx: Context, token_id: str) -> None:
    """End one of the caller's API tokens at once."""
    await api_tokens.revoke_api_token(ctx, token_id)
