"""`novapulse user …`."""

import click

from novapulse.cli.options import Location, location_options


@click.group()
def user() -> None:
    """Accounts."""


@user.command()
@click.argument("email")
@click.option(
    "--super-admin", "is_operator", is_flag=True, required=True, help="An operator's account."
)
@location_options
def create(location: Location, email: str, is_operator: bool) -> None:
    """Create an account; its random password is printed this once."""
    from novapulse.cli.session import with_context
    from novapulse.identity import service

    click.echo(with_context(location, lambda ctx: service.create_operator(ctx, email)))
