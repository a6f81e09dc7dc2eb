"""Use cases of the operator on any account, by its address: for the command line.

Members of a company go the way of `members`; operators, who are in no
company, are dealt with here.
"""

import msgspec

from novapulse.core import paging
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.documents import new_object_id
from novapulse.core.errors import NotFound, TransientConflict
from novapulse.core.events import PLATFORM
from novapulse.core.paging import Listing
from novapulse.identity import service as identity
from novapulse.identity.model import Account, User, UserCreated
from novapulse.identity.sessions import end_access
from novapulse.identity.store import AccountStore
from novapulse.people import members
from novapulse.people.model import (
    AccountQuery,
    AccountView,
    LastOperator,
    NewAccount,
    UserDisabled,
    UserEnabled,
)
from novapulse.people.resets import random_password
from novapulse.people.store import OwnCompanyStore, has_other_operator, page_of_accounts


async def get_account(ctx: Context, who: str) -> Account:
    """The account with this address or id; raises NotFound."""
    ctx.require(Scope.COMPANIES_READ)
    accounts = AccountStore(ctx.runtime.db)
    account = await (accounts.find_by_email(who) if "@" in who else accounts.find(who))
    if account is None:
        raise NotFound(f"There is no account {who}")
    return account


async def list_accounts(ctx: Context, query: AccountQuery) -> Listing[AccountView]:
    """Accounts of one company or of the whole installation, newest first."""
    ctx.require(Scope.COMPANIES_READ)
    return paging.listing(await page_of_accounts(ctx.runtime.db, query), query.limit)


async def create_account(ctx: Context, command: NewAccount) -> str:
    """A member of a company, or an operator, with a random password, which is returned this once.

    Raises EmailTaken, or NotFound for a company that there is not.
    """
    ctx.require(Scope.COMPANIES_WRITE)
    if command.company_id is not None:
        await OwnCompanyStore(ctx.on_company(command.company_id).read()).get()
    password, now = random_password(), ctx.now()
    user = User(
        id=new_object_id(),
        email=command.email,
        name=command.name,
        role=command.role,
        created_at=now,
        updated_at=now,
    )
    password_hash = await identity.of(ctx).passwords.hash(password)
    account = Account(user=user, company_id=command.company_id, password_hash=password_hash)
    async with ctx.transaction(company_id=command.company_id or PLATFORM) as tx:
        await AccountStore(tx).insert(account)
        tx.record(UserCreated(user=user))
    return password


async def disable_account(ctx: Context, account: Account) -> None:
    """Raises LastAdmin or LastOperator when nobody would be left in that role."""
    if account.company_id is not None:
        await members.disable_member(ctx.on_company(account.company_id), account.user.id)
    else:
        await _set_operator_status(ctx, account.user.id, "disabled")


async def enable_account(ctx: Context, account: Account) -> None:
    if account.company_id is not None:
        await members.enable_member(ctx.on_company(account.company_id), account.user.id)
    else:
        await _set_operator_status(ctx, account.user.id, "active")


async def _set_operator_status(ctx: Context, user_id: str, status: str) -> None:
    ctx.require(Scope.COMPANIES_WRITE)
    async with ctx.transaction(company_id=PLATFORM) as tx:
        accounts = AccountStore(tx)
        # As it is now: while the command line asked, they may have changed their own account.
        account = await accounts.find(user_id)
        if account is None:
            raise NotFound("There is no such account")
        before = account.user
        if before.status == status:
            return
        if status == "disabled" and not await has_other_operator(tx, user_id):
            raise LastOperator()
        after = msgspec.structs.replace(
            before, status=status, updated_at=ctx.now(), version=before.version + 1
        )
        if not await accounts.save_user(after, if_version=before.version):
            raise TransientConflict()
        await end_access(tx, user_id)
        tx.record(UserDisabled(user=after) if status == "disabled" else UserEnabled(user=after))
