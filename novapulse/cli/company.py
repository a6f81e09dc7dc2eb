"""`novapulse company …`."""

import click

from novapulse.cli.confirm import Consent, consent_options
from novapulse.cli.options import Location, location_options

_COLUMNS = ("id", "name", "status", "mfaRequired", "createdAt")


@click.group()
def company() -> None:
    """Companies of this installation."""


@company.command(name="list")
@click.option("--status", type=click.Choice(("active", "suspended")))
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")
@location_options
def list_companies(location: Location, status: str | None, as_json: bool) -> None:
    """List companies, newest first."""
    from novapulse.cli.listing import print_rows
    from novapulse.cli.session import every_page, with_context
    from novapulse.core import wire
    from novapulse.people import companies
    from novapulse.people.model import CompanyQuery

    query = wire.convert({"status": status, "limit": 200}, CompanyQuery)
    rows = with_context(location, lambda ctx: every_page(companies.list_companies, ctx, query))
    print_rows("companies", rows, columns=_COLUMNS, as_json=as_json)


@company.command()
@click.argument("company_id", metavar="ID")
@consent_options
@location_options
def suspend(location: Location, company_id: str, consent: Consent) -> None:
    """Sign everybody of a company out and keep them out; nothing is deleted."""
    from novapulse.cli.session import with_context
    from novapulse.people import companies

    found = with_context(location, lambda ctx: companies.get_company(ctx, company_id))
    if consent.to(f"suspend {found.name} ({found.id})"):
        _set_status(location, company_id, "suspended")


@company.command()
@click.argument("company_id", metavar="ID")
@location_options
def resume(location: Location, company_id: str) -> None:
    """Let a suspended company's members sign in again."""
    _set_status(location, company_id, "active")


def _set_status(location: Location, company_id: str, status: str) -> None:
    from novapulse.cli.session import with_context
    from novapulse.core import wire
    from novapulse.people import companies
    from novapulse.people.model import ChangeCompany

    change = wire.convert({"status": status}, ChangeCompany)
    with_context(location, lambda ctx: companies.change_company(ctx, company_id, change=change))
