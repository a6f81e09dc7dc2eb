"""`/auth/*`: registration, sign-in and the caller's own profile."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.routing import Routes
from novapulse.identity import service
from novapulse.identity.model import Login, Me, Register, SignedIn

routes = Routes("identity")


@routes.add("POST", "/auth/register", scope=None, status=201, limit="register")
async def register(ctx: Context, body: Register) -> SignedIn:
    """Found a company; the first one of an installation needs the setup token."""
    return await service.register(ctx, body)


@routes.add("POST", "/auth/login", scope=None, limit="login")
async def login(ctx: Context, body: Login) -> SignedIn:
    """Sign in with e-mail address and password."""
    return await service.login(ctx, body)


@routes.add("GET", "/auth/me", scope=Scope.PROFILE)
async def me(ctx: Context) -> Me:
    """The caller's profile and company."""
    return await service.me(ctx)
