"""`/invites`: an invite is named by its id for those who sent it, by its token for its receiver."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Routes
from novapulse.identity.model import User
from novapulse.invites import service
from novapulse.invites.model import (
    AcceptInvite,
    Invitation,
    Invite,
    InviteQuery,
    NewInvite,
    SentInvite,
)

routes = Routes("invites")


@routes.add("POST", "/invites", scope=Scope.INVITES_WRITE, status=201, limit="invites")
async def send_invite(ctx: Context, body: NewInvite) -> SentInvite:
    """Invite somebody by mail; the link is shown only now."""
    return await service.send_invite(ctx, body)


@routes.add("GET", "/invites", scope=Scope.INVITES_READ)
async def list_invites(ctx: Context, query: InviteQuery) -> Listing[Invite]:
    """List invites, newest first."""
    return await service.list_invites(ctx, query)


@routes.add("DELETE", "/invites/{invite}", scope=Scope.INVITES_WRITE)
async def revoke_invite(ctx: Context, invite_id: str) -> None:
    """Withdraw an invite: its link is dead."""
    await service.revoke_invite(ctx, invite_id)


@routes.add("POST", "/invites/{invite}/resend", scope=Scope.INVITES_WRITE, limit="invites")
async def resend_invite(ctx: Context, invite_id: str) -> SentInvite:
    """Send a new link with the full time again; the old one is dead."""
    return await service.resend_invite(ctx, invite_id)


@routes.add("GET", "/invites/{invite}", scope=None)
async def show_invitation(ctx: Context, token: str) -> Invitation:
    """Say what an invite's link is about."""
    return await service.show_invitation(ctx, token)


@routes.add("POST", "/invites/{invite}/accept", scope=None, status=201)
async def accept_invite(ctx: Context, token: str, body: AcceptInvite) -> User:
    """Make the account that an invite is for; sign in with it afterwards."""
    return await service.accept_invite(ctx, token, body)
