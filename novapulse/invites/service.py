"""Use cases on invites: send, withdraw, look at the link, accept."""

import hashlib
import secrets
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from novapulse.core import paging
from novapulse.core.access import SYSTEM, Grant, Principal, Role, Scope
from novapulse.core.clock import rfc3339
from novapulse.core.context import Context, Runtime, Transaction
from novapulse.core.documents import new_object_id
from novapulse.core.errors import Forbidden, NotFound
from novapulse.core.ids import new_id
from novapulse.core.paging import Listing
from novapulse.identity import service as identity
from novapulse.identity.model import Account, EmailTaken, User, UserCreated
from novapulse.identity.store import USERS, AccountStore, RowSource, insert_account
from novapulse.identity.strength import check_new_password
from novapulse.invites.model import (
    AcceptInvite,
    AlreadyMember,
    Invitation,
    Invite,
    InviteAccepted,
    InviteCreated,
    InviteExpired,
    InviteGone,
    InviteQuery,
    InviteResent,
    InviteRevoked,
    InviteSettled,
    InviteStatus,
    NewInvite,
    SentInvite,
)
from novapulse.invites.store import InviteStore, find_invite, lapsed_invites
from novapulse.people.store import MemberStore, OwnCompanyStore


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def send_invite(ctx: Context, command: NewInvite) -> SentInvite:
    """Invite an address; the answer is the only one with the link, which is also mailed.

    An account in another company changes nothing here: who exists is told only
    to whoever opens the link.

    Raises:
        Forbidden: not a role that the caller may give.
        AlreadyMember: the address belongs to the caller's own company.
        InvitePending: it has an open invite.
    """
    _check_role(ctx, Role(command.role))
    now = ctx.now()
    invite = Invite(
        id=new_object_id(),
        email=command.email.strip(),
        role=Role(command.role),
        expires_in_days=command.expires_in_days,
        expires_at=now + timedelta(days=command.expires_in_days),
        created_by=ctx.principal.user_id,
        created_at=now,
        updated_at=now,
    )
    token = secrets.token_urlsafe(32)
    async with ctx.transaction() as tx:
        if await MemberStore(tx).has_email(invite.email):
            raise AlreadyMember()
        invites = InviteStore(tx)
        older = await invites.find_pending(invite.email)
        if older is not None and not older.is_open(now):
            await _expire(tx, invites, invite=older, at=now)
        elif older is not None and await _inviter(tx, older, company_id=tx.company_id) is None:
            await _revoke(tx, invites, invite=older, at=now)
        await invites.insert(invite, token_hash=_digest(token))
        tx.record(InviteCreated(invite=invite))
        return await _mail(ctx, tx, invite=invite, token=token)


async def resend_invite(ctx: Context, invite_id: str) -> SentInvite:
    """Send a new link with the full time again; the old link is dead.

    Of an invite whose sender may not send it any more the caller becomes the sender.

    Raises NotFound, Forbidden, InvitePending (another one is open) or
    InviteSettled (it was used or withdrawn).
    """
    token = secrets.token_urlsafe(32)
    async with ctx.transaction() as tx:
        invites = _invites_for(ctx, tx)
        before = await invites.get(invite_id)
        _check_role(ctx, before.role)
        if before.status not in (InviteStatus.PENDING, InviteStatus.EXPIRED):
            raise InviteSettled()
        now = ctx.now()
        has_inviter = await _inviter(tx, before, company_id=tx.company_id) is not None
        invite = msgspec.structs.replace(
            before,
            status=InviteStatus.PENDING,
            created_by=before.created_by if has_inviter else ctx.principal.user_id,
            expires_at=now + timedelta(days=before.expires_in_days),
            updated_at=now,
            version=before.version + 1,
        )
        await invites.reopen(invite, token_hash=_digest(token), if_version=before.version)
        tx.record(InviteResent(invite=invite))
        return await _mail(ctx, tx, invite=invite, token=token)


async def list_invites(ctx: Context, query: InviteQuery) -> Listing[Invite]:
    """The company's invites, or those that the caller sent, newest first."""
    own = _own_id(ctx, ctx.require(Scope.INVITES_READ))
    rows = await InviteStore(ctx.read(), own=own).page(query)
    return paging.listing(rows, query.limit)


async def revoke_invite(ctx: Context, invite_id: str) -> None:
    """Withdraw an invite: its link is dead. Raises NotFound or InviteSettled."""
    async with ctx.transaction() as tx:
        invites = _invites_for(ctx, tx)
        invite = await invites.get(invite_id)
        if invite.status is not InviteStatus.PENDING:
            raise InviteSettled()
        await _revoke(tx, invites, invite=invite, at=ctx.now())


async def withdraw_invites_of(ctx: Context, inviter_id: str, *, limit: int = 1_000) -> None:
    """Withdraw the open invites that their sender could not send now.

    For the list and the event: such a link is dead already. A repeat is harmless.
    """
    for one in await InviteStore(ctx.read(), own=inviter_id).pending(limit=limit):
        async with ctx.transaction() as tx:
            invites = InviteStore(tx)
            invite = await invites.get(one.id)
            is_pending = invite.status is InviteStatus.PENDING
            if is_pending and await _inviter(tx, invite, company_id=tx.company_id) is None:
                await _revoke(tx, invites, invite=invite, at=ctx.now())


async def show_invitation(ctx: Context, token: str) -> Invitation:
    """What a link is about; raises NotFound for an unknown one and InviteGone for a dead one."""
    company_id, invite = await _open_invite(ctx, token)
    holder = ctx.on_behalf_of(replace(ctx.principal, company_id=company_id))
    company = await OwnCompanyStore(holder.read()).get()
    if company.status != "active":
        raise InviteGone()
    return Invitation(
        email=invite.email,
        role=invite.role,
        company_name=company.name,
        expires_at=invite.expires_at,
    )


async def accept_invite(ctx: Context, token: str, command: AcceptInvite) -> User:
    """Make the account that the invite is for; who accepts signs in afterwards.

    Raises:
        NotFound: no such link.
        InviteGone: it was used, withdrawn or has expired, or its sender could not send it now.
        EmailTaken: the address has an account, in whatever company.
        Invalid: the password is not good enough.
    """
    invitation = await show_invitation(ctx, token)
    if await identity.of(ctx).accounts.find_by_email(invitation.email) is not None:
        raise EmailTaken()
    check_new_password(
        command.password, email=invitation.email, company_name=invitation.company_name
    )
    password_hash = await identity.of(ctx).passwords.hash(command.password)
    company_id, invite = await _open_invite(ctx, token)
    now = ctx.now()
    user = User(
        id=new_object_id(),
        email=invite.email,
        name=command.name,
        role=invite.role,
        created_at=now,
        updated_at=now,
    )
    joining = Principal(user_id=user.id, role=user.role, company_id=company_id)
    async with ctx.on_behalf_of(joining).transaction() as tx:
        invites = InviteStore(tx)
        before = await invites.get(invite.id)
        inviter = await _inviter(tx, before, company_id=company_id)
        if inviter is None or not before.is_open(now):
            raise InviteGone()
        accepted = before.settled(InviteStatus.ACCEPTED, at=now, by=user.id)
        await invites.settle(accepted, if_version=before.version)
        if inviter.role is Role.MANAGER:
            user = msgspec.structs.replace(user, manager_id=inviter.id)
        account = Account(user=user, company_id=company_id, password_hash=password_hash)
        await insert_account(tx.rows(USERS), account)
        tx.record(UserCreated(user=user))
        tx.record(InviteAccepted(invite=accepted))
        if inviter.role is not Role.SUPER_ADMIN:
            data = {"name": user.name, "email": user.email, "companyName": invitation.company_name}
            mail = {"to": inviter.email, "template": "invite_accepted", "data": data}
            await tx.enqueue("mail.send", mail)
    return user


async def expire_invites(runtime: Runtime, *, limit: int = 200) -> int:
    """Settle open invites whose time is over, in all companies; how many were found.

    For the scheduler, now and then: a repeat is harmless, and nothing depends
    on it being in time but the list and the event.
    """
    found = await lapsed_invites(runtime.db, runtime.clock(), limit=limit)
    for company_id, invite_id in found:
        principal = replace(SYSTEM, company_id=company_id)
        ctx = Context(runtime, principal, request_id=new_id("run"), via="job")
        async with ctx.transaction() as tx:
            invites = InviteStore(tx)
            invite = await invites.get(invite_id)
            if invite.status is InviteStatus.PENDING and not invite.is_open(ctx.now()):
                await _expire(tx, invites, invite=invite, at=ctx.now())
    return len(found)


async def _expire(tx: Transaction, invites: InviteStore, *, invite: Invite, at: datetime) -> None:
    expired = invite.settled(InviteStatus.EXPIRED, at=at)
    await invites.settle(expired, if_version=invite.version)
    tx.record(InviteExpired(invite=expired))


async def _revoke(tx: Transaction, invites: InviteStore, *, invite: Invite, at: datetime) -> None:
    revoked = invite.settled(InviteStatus.REVOKED, at=at)
    await invites.settle(revoked, if_version=invite.version)
    tx.record(InviteRevoked(invite=revoked))


async def _inviter(source: RowSource, invite: Invite, *, company_id: str) -> User | None:
    """Who sent the invite, while they could send it today: it is worth no more than its sender."""
    account = await AccountStore(source).find(invite.created_by)
    if account is None or account.company_id not in (company_id, None):
        return None
    user = account.user
    grant = Principal(user_id=user.id, role=user.role, company_id=company_id).grant(
        Scope.INVITES_WRITE
    )
    if user.status != "active" or grant is None or not _reaches(grant, invite.role):
        return None
    return user


def _reaches(grant: Grant, role: Role) -> bool:
    return grant is Grant.ALL or role is Role.USER


def _check_role(ctx: Context, role: Role) -> None:
    if not _reaches(ctx.require(Scope.INVITES_WRITE), role):
        raise Forbidden("Your role lets you invite users only")


def _own_id(ctx: Context, grant: Grant) -> str | None:
    return None if grant is Grant.ALL else ctx.principal.user_id


def _invites_for(ctx: Context, tx: Transaction) -> InviteStore:
    """The invites that the caller may change."""
    return InviteStore(tx, own=_own_id(ctx, ctx.require(Scope.INVITES_WRITE)))


async def _open_invite(ctx: Context, token: str) -> tuple[str, Invite]:
    found = await find_invite(ctx.runtime.db, _digest(token))
    if found is None:
        raise NotFound("There is no such invite")
    company_id, invite = found
    inviter = await _inviter(ctx.runtime.db, invite, company_id=company_id)
    if inviter is None or not invite.is_open(ctx.now()):
        raise InviteGone()
    return found


async def _mail(ctx: Context, tx: Transaction, *, invite: Invite, token: str) -> SentInvite:
    """Queue the mail with the link and show the link once."""
    company = await OwnCompanyStore(tx).get()
    inviter = await MemberStore(tx).find(invite.created_by)
    link = f"{ctx.runtime.settings.server.base_url}/invites/{token}"
    data = {
        "link": link,
        "companyName": company.name,
        "inviterName": inviter.name if inviter else None,
        "role": str(invite.role),
        "expiresAt": rfc3339(invite.expires_at),
    }
    await tx.enqueue("mail.send", {"to": invite.email, "template": "invite", "data": data})
    fields = {name: getattr(invite, name) for name in invite.__struct_fields__}
    return SentInvite(**fields, link=link)
