"""Founding a company: with the setup token the first, later as the settings say."""

import secrets
from pathlib import Path

from novapulse.core import secretfiles
from novapulse.core.access import Role
from novapulse.core.context import Context
from novapulse.core.documents import new_object_id
from novapulse.core.events import PLATFORM
from novapulse.identity.model import Account, Company, NewSession, User, UserCreated
from novapulse.identity.service import acting_as, of, open_session
from novapulse.identity.store import AccountStore, CompanyStore
from novapulse.identity.strength import check_new_password
from novapulse.signin.model import (
    CompanyRegistered,
    Ref,
    Register,
    RegistrationClosed,
    SetUp,
    SetupTokenWrong,
)


async def register(ctx: Context, command: Register) -> NewSession:
    """Found a company with its first administrator.

    Raises:
        SetupTokenWrong: the installation has no company yet and the token is not its own.
        RegistrationClosed: it has one, and founding more is not open to everybody.
        EmailTaken: the address has an account.
        Invalid: the password would be guessed first.
    """
    identity = of(ctx)
    is_first = not await identity.accounts.is_set_up()
    if is_first:
        _check_setup_token(identity.setup_token_file, command.setup_token)
    elif ctx.runtime.settings.registration.mode == "closed":
        raise RegistrationClosed()
    check_new_password(command.password, email=command.email, company_name=command.company_name)
    now = ctx.now()
    company = Company(id=new_object_id(), name=command.company_name, created_at=now, updated_at=now)
    password_hash = await identity.passwords.hash(command.password)
    user = User(
        id=new_object_id(),
        email=command.email.strip(),
        name=command.name,
        role=Role.COMPANY_ADMIN,
        created_at=now,
        updated_at=now,
    )
    account = Account(user=user, company_id=company.id, password_hash=password_hash)
    async with acting_as(ctx, account).transaction() as tx:
        accounts = AccountStore(tx)
        if is_first:
            await accounts.take_setup(company.id)
            tx.of(PLATFORM).record(SetUp(installation=Ref(id=company.id)))
        await CompanyStore(tx).insert(company)
        await accounts.insert(account)
        tx.record(CompanyRegistered(company=company))
        tx.record(UserCreated(user=user))
        data = {"name": user.name, "companyName": company.name}
        await tx.enqueue("mail.send", {"to": user.email, "template": "welcome", "data": data})
    if is_first:
        identity.setup_token_file.unlink(missing_ok=True)
    return await open_session(ctx, account, company=company)


def _check_setup_token(path: Path, given: str | None) -> None:
    try:
        expected = secretfiles.read_secret_file(path).strip()
    except FileNotFoundError as error:
        raise SetupTokenWrong() from error
    if not secrets.compare_digest(expected, (given or "").strip().encode()):
        raise SetupTokenWrong()
