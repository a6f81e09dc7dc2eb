"""Use cases of identity: found a company, sign in, look at oneself."""

import secrets
from datetime import timedelta
from pathlib import Path

from novapulse.core import secretfiles
from novapulse.core.access import Principal, Role
from novapulse.core.context import Context, Runtime, Transaction
from novapulse.core.documents import new_object_id
from novapulse.core.errors import Invalid, NotFound, TransientConflict, Unauthenticated
from novapulse.core.mongo import Duplicate
from novapulse.identity import store, tokens
from novapulse.identity.model import (
    Account,
    BadCredentials,
    Company,
    Login,
    Me,
    Register,
    RegistrationClosed,
    Session,
    SetupTokenWrong,
    SignedIn,
    User,
    UserCreated,
)
from novapulse.identity.passwords import Passwords
from novapulse.identity.sessions import SessionCache
from novapulse.identity.store import AccountStore, CompanyStore

SESSION_LIFETIME = timedelta(days=7)


class Identity:
    """What identity keeps in a process: token keys, the hasher, the cache of live sessions."""

    def __init__(self, runtime: Runtime, keys: tokens.TokenKeys, *, setup_token_file: Path) -> None:
        auth = runtime.settings.auth
        self.keys = keys
        self.accounts = AccountStore(runtime.db)
        self.passwords = Passwords(
            memory_kib=auth.argon2_memory_kib, time_cost=auth.argon2_time_cost
        )
        self.sessions = SessionCache(self.accounts)
        self.setup_token_file = setup_token_file
        self.token_seconds = auth.access_token_seconds


def of(ctx: Context) -> Identity:
    return ctx.runtime.feature(Identity)


async def register(ctx: Context, command: Register) -> SignedIn:
    """Found a company with its first administrator.

    Raises:
        SetupTokenWrong: the installation has no company yet and the token is not its own.
        RegistrationClosed: it has one, and founding more is not open to everybody.
        EmailTaken: the address has an account.
    """
    identity = of(ctx)
    is_first = not await identity.accounts.is_set_up()
    if is_first:
        _check_setup_token(identity.setup_token_file, command.setup_token)
    elif ctx.runtime.settings.registration.mode == "closed":
        raise RegistrationClosed()
    now = ctx.now()
    company = Company(id=new_object_id(), name=command.company_name, created_at=now, updated_at=now)
    password_hash = await identity.passwords.hash(command.password)
    user = _new_user(ctx, command.email, name=command.name, role=Role.COMPANY_ADMIN)
    account = Account(user=user, company_id=company.id, password_hash=password_hash)
    founder = Principal(user_id=user.id, role=user.role, company_id=company.id)
    acting = Context(ctx.runtime, founder, request_id=ctx.request_id, via=ctx.via)
    async with acting.transaction() as tx:
        if is_first:
            await _take_setup(tx, company.id)
        await CompanyStore(tx).insert(company)
        await store.insert_account(tx.platform(store.USERS), account)
        tx.record(UserCreated(user=user))
    if is_first:
        identity.setup_token_file.unlink(missing_ok=True)
    return await _sign_in(ctx, account, company)


def _check_setup_token(path: Path, given: str | None) -> None:
    try:
        expected = secretfiles.read_secret_file(path).strip()
    except FileNotFoundError as error:
        raise SetupTokenWrong() from error
    if not secrets.compare_digest(expected, (given or "").strip().encode()):
        raise SetupTokenWrong()


async def _take_setup(tx: Transaction, company_id: str) -> None:
    """One founding wins: a parallel one conflicts here and finds the installation set up."""
    try:
        await tx.platform(store.SETUP).insert({"_id": store.SETUP, "companyId": company_id})
    except Duplicate as error:
        raise TransientConflict() from error


def _new_user(ctx: Context, email: str, *, name: str, role: Role) -> User:
    now = ctx.now()
    return User(
        id=new_object_id(),
        email=email.strip(),
        name=name,
        role=role,
        created_at=now,
        updated_at=now,
    )


async def login(ctx: Context, command: Login) -> SignedIn:
    """A session for an e-mail address and its password; every failure is one BadCredentials."""
    identity = of(ctx)
    account = await identity.accounts.find_by_email(command.email)
    known_hash = account.password_hash if account else None
    fits = await identity.passwords.verify(known_hash, command.password)
    if account is None or not fits or account.user.status != "active":
        raise BadCredentials()
    return await _sign_in(ctx, account, None)


async def _sign_in(ctx: Context, account: Account, company: Company | None) -> SignedIn:
    identity = of(ctx)
    now = ctx.now()
    session = Session(
        id=new_object_id(),
        user_id=account.user.id,
        company_id=account.company_id,
        role=account.user.role,
        created_at=now,
        expires_at=now + SESSION_LIFETIME,
    )
    await identity.accounts.insert_session(session)
    lifetime = identity.token_seconds
    token = tokens.issue(identity.keys, session, now=now, lifetime_seconds=lifetime)
    signed_in = SignedIn(access_token=token, expires_in=lifetime, user=account.user)
    if company is None:
        return signed_in
    return SignedIn(access_token=token, expires_in=lifetime, user=account.user, company=company)


async def me(ctx: Context) -> Me:
    """The caller's own profile and company."""
    account = await of(ctx).accounts.find(ctx.principal.user_id)
    if account is None:
        raise Unauthenticated()
    company = await CompanyStore(ctx.read()).find() if account.company_id else None
    user = account.user
    return Me(
        id=user.id,
        email=user.email,
        name=user.name,
        role=user.role,
        company=company,
        version=user.version,
    )


async def create_operator(ctx: Context, email: str) -> str:
    """A super_admin with a random password, which is returned this once; raises EmailTaken."""
    if "@" not in email:
        raise Invalid.field("email", f"{email!r} is not an e-mail address")
    identity = of(ctx)
    password = secrets.token_urlsafe(18)
    user = _new_user(ctx, email, name=email.partition("@")[0], role=Role.SUPER_ADMIN)
    password_hash = await identity.passwords.hash(password)
    await identity.accounts.insert(Account(user=user, company_id=None, password_hash=password_hash))
    return password


def setup_token(path: Path) -> str:
    """The token that the first registration needs; raises NotFound once it was used."""
    try:
        return secretfiles.read_secret_file(path).decode().strip()
    except FileNotFoundError as error:
        raise NotFound(
            "The setup token was used, or this installation was never started"
        ) from error
