"""Use cases on the members of a company: look, change, disable, give another role."""

import msgspec
from msgspec import UNSET

from novapulse.core import paging
from novapulse.core.access import Grant, Role, Scope
from novapulse.core.context import Context, Transaction
from novapulse.core.documents import changed_fields
from novapulse.core.errors import Forbidden, Invalid, NotFound, VersionConflict
from novapulse.core.paging import Listing
from novapulse.identity import service as identity
from novapulse.identity.model import User, UserUpdated
from novapulse.identity.sessions import end_access
from novapulse.people.model import (
    ChangeMember,
    LastAdmin,
    MemberQuery,
    UserDisabled,
    UserEnabled,
    UserRoleChanged,
)
from novapulse.people.store import MemberStore, OwnCompanyStore

_LEADERS = (Role.MANAGER, Role.COMPANY_ADMIN)


async def list_members(ctx: Context, query: MemberQuery) -> Listing[User]:
    """The company's users, or only the caller, newest first."""
    members = MemberStore(ctx.read())
    rows = await members.page(query, only=_own_id(ctx, ctx.require(Scope.USERS_READ)))
    return paging.listing(rows, query.limit)


async def get_member(ctx: Context, user_id: str) -> User:
    """Raises NotFound."""
    own = _own_id(ctx, ctx.require(Scope.USERS_READ))
    if own not in (None, user_id):
        raise NotFound("There is no such user")
    return await MemberStore(ctx.read()).get(user_id)


async def change_member(
    ctx: Context, user_id: str, *, change: ChangeMember, if_version: int | None = None
) -> User:
    """Change some fields; changing nothing writes nothing.

    Raises:
        NotFound: no such user for the caller.
        VersionConflict: saved by someone else since `if_version`.
        Forbidden: not one of the caller's people, or not a field that the caller may change.
        LastAdmin: nobody would administer the company any more.
        Invalid: `managerId` is nobody who may lead.
    """
    ctx.require(Scope.USERS_WRITE)
    async with ctx.transaction() as tx:
        members = MemberStore(tx)
        before = await _get_for(ctx, members, user_id=user_id, scope=Scope.USERS_WRITE)
        if if_version is not None and before.version != if_version:
            raise VersionConflict()
        after = _changed(ctx, before, change)
        changed = changed_fields(before, after)
        if not changed:
            return before
        if {"role", "managerId"} & set(changed):
            ctx.require(Scope.USERS_ADMIN)
        if "managerId" in changed:
            await _check_leader(members, after)
        if "role" in changed:
            await _keep_an_admin(ctx, tx, leaving=before)
        await members.save(after, if_version=before.version)
        tx.record(UserUpdated(user=after, changed=changed))
        if "role" in changed:
            tx.record(UserRoleChanged(user=after, changed=("role",)))
    identity.of(ctx).standings.forget(user_id)
    return after


def _changed(ctx: Context, before: User, change: ChangeMember) -> User:
    given = {
        name: getattr(change, name)
        for name in change.__struct_fields__
        if getattr(change, name) is not UNSET
    }
    if "role" in given:
        given["role"] = Role(given["role"])
    return msgspec.structs.replace(
        before, **given, updated_at=ctx.now(), version=before.version + 1
    )


async def disable_member(ctx: Context, user_id: str) -> User:
    """Sign somebody out everywhere and keep them out; their API tokens are dead, too.

    Raises NotFound, Forbidden (not one of the caller's people) or LastAdmin.
    """
    return await _set_status(ctx, user_id, "disabled")


async def enable_member(ctx: Context, user_id: str) -> User:
    """Let somebody in again; raises NotFound or Forbidden."""
    return await _set_status(ctx, user_id, "active")


async def _set_status(ctx: Context, user_id: str, status: str) -> User:
    ctx.require(Scope.USERS_DISABLE)
    async with ctx.transaction() as tx:
        members = MemberStore(tx)
        before = await _get_for(ctx, members, user_id=user_id, scope=Scope.USERS_DISABLE)
        if before.status == status:
            return before
        after = msgspec.structs.replace(
            before, status=status, updated_at=ctx.now(), version=before.version + 1
        )
        if status == "disabled":
            await _keep_an_admin(ctx, tx, leaving=before)
            await end_access(tx, user_id)
            tx.record(UserDisabled(user=after))
        else:
            tx.record(UserEnabled(user=after))
        await members.save(after, if_version=before.version)
    identity.of(ctx).standings.forget(user_id)
    return after


def _own_id(ctx: Context, grant: Grant) -> str | None:
    return ctx.principal.user_id if grant is Grant.OWN else None


async def _get_for(ctx: Context, members: MemberStore, *, user_id: str, scope: Scope) -> User:
    """Somebody whom the caller may act on as `scope` says.

    Who may not even see them gets NotFound, who may but does not lead them Forbidden.
    """
    grant = ctx.require(scope)
    me = ctx.principal.user_id
    if _own_id(ctx, grant) not in (None, user_id):
        raise NotFound("There is no such user")
    user = await members.get(user_id)
    if grant is Grant.ALL or (user.id == me and scope is Scope.USERS_WRITE):
        return user
    is_led = user.manager_id == me and user.role.rank < ctx.principal.role.rank
    if grant is Grant.LED and is_led:
        return user
    raise Forbidden("Your role lets you do this to people whom you lead only")


async def _check_leader(members: MemberStore, user: User) -> None:
    """A leader is another active manager or administrator of the same company."""
    if user.manager_id is None:
        return
    leader = await members.find(user.manager_id)
    is_other = leader is not None and leader.id != user.id and leader.status == "active"
    if leader is None or not is_other or leader.role not in _LEADERS:
        raise Invalid.field("managerId", "there is no such manager")


async def _keep_an_admin(ctx: Context, tx: Transaction, *, leaving: User) -> None:
    """Raises LastAdmin when `leaving` is the only one who can administer the company."""
    if leaving.role is not Role.COMPANY_ADMIN or leaving.status != "active":
        return
    await OwnCompanyStore(tx).serialise_admins(ctx.now())
    if not await MemberStore(tx).other_admins(leaving.id):
        raise LastAdmin()
