"""`novapulse user …`."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from novapulse.cli.confirm import Consent, consent_options
from novapulse.cli.options import Location, location_options

if TYPE_CHECKING:
    from novapulse.core.context import Context
    from novapulse.identity.model import Account

_ROLES = ("company_admin", "manager", "user")
_COLUMNS = ("id", "email", "name", "role", "status", "companyId")


@click.group()
def user() -> None:
    """Accounts; USER is an address or an id."""


@user.command()
@click.argument("email")
@click.option("--super-admin", "is_operator", is_flag=True, help="An operator, of no company.")
@click.option("--company", metavar="ID", help="The company of a member.")
@click.option("--role", type=click.Choice(_ROLES), default="user", show_default=True)
@click.option("--name", help="What they are called; by default the address's beginning.")
@location_options
def create(
    location: Location,
    email: str,
    *,
    is_operator: bool,
    company: str | None,
    role: str,
    name: str | None,
) -> None:
    """Create an account; its random password is printed this once."""
    if is_operator == (company is not None):
        raise click.UsageError("give either --super-admin or --company ID")
    from novapulse.cli.session import with_context
    from novapulse.core import wire
    from novapulse.people import accounts
    from novapulse.people.model import NewAccount

    fields = {
        "email": email,
        "name": name or email.partition("@")[0],
        "role": "super_admin" if is_operator else role,
        "companyId": company,
    }
    command = wire.convert(fields, NewAccount)
    click.echo(with_context(location, lambda ctx: accounts.create_account(ctx, command)))


@user.command(name="list")
@click.option("--company", metavar="ID", help="Only of this company.")
@click.option("--role", type=click.Choice((*_ROLES, "super_admin")))
@click.option("--status", type=click.Choice(("active", "disabled")))
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")
@location_options
def list_users(
    location: Location,
    *,
    company: str | None,
    role: str | None,
    status: str | None,
    as_json: bool,
) -> None:
    """List accounts, newest first."""
    from novapulse.cli.listing import print_rows
    from novapulse.cli.session import every_page, with_context
    from novapulse.core import wire
    from novapulse.people import accounts
    from novapulse.people.model import AccountQuery

    wanted = {"companyId": company, "role": role, "status": status, "limit": 200}
    query = wire.convert(wanted, AccountQuery)
    rows = with_context(location, lambda ctx: every_page(accounts.list_accounts, ctx, query))
    print_rows("users", rows, columns=_COLUMNS, as_json=as_json)


@user.command()
@click.argument("who", metavar="USER")
@consent_options
@location_options
def disable(location: Location, who: str, consent: Consent) -> None:
    """Sign somebody out everywhere and keep them out."""
    from novapulse.people import accounts

    _on_account(location, who, consent=consent, deed="disable", use_case=accounts.disable_account)


@user.command()
@click.argument("who", metavar="USER")
@location_options
def enable(location: Location, who: str) -> None:
    """Let a disabled user in again."""
    from novapulse.people import accounts

    _on_account(location, who, consent=None, deed="enable", use_case=accounts.enable_account)


@user.command(name="reset-password")
@click.argument("who", metavar="USER")
@consent_options
@location_options
def reset_password(location: Location, who: str, consent: Consent) -> None:
    """Give a random password, which is printed this once; every session ends."""
    from novapulse.people import resets

    deed = "give a new password to"
    password = _on_account(
        location, who, consent=consent, deed=deed, use_case=resets.reset_password
    )
    if password is not None:
        click.echo(password)


@user.command(name="reset-mfa")
@click.argument("who", metavar="USER")
@consent_options
@location_options
def reset_mfa(location: Location, who: str, consent: Consent) -> None:
    """Take the second factor off somebody who lost it; every session ends."""
    from novapulse.people import resets

    deed = "take the second factor off"
    _on_account(location, who, consent=consent, deed=deed, use_case=resets.reset_mfa)


@user.command()
@click.argument("who", metavar="USER")
@location_options
def unlock(location: Location, who: str) -> None:
    """Forget failed sign-ins, so that the next one is not delayed."""
    from novapulse.people import resets

    _on_account(location, who, consent=None, deed="unlock", use_case=resets.unlock)


def _on_account(
    location: Location,
    who: str,
    *,
    consent: Consent | None,
    deed: str,
    use_case: Callable[["Context", "Account"], Awaitable[str | None]],
) -> str | None:
    """Find the account, ask, act; what the use case answers."""
    from novapulse.cli.session import with_context
    from novapulse.people import accounts

    account = with_context(location, lambda ctx: accounts.get_account(ctx, who))
    if consent is not None and not consent.to(f"{deed} {account.user.email}"):
        return None
    return with_context(location, lambda ctx: use_case(ctx, account))
