"""`novapulse token …`."""

from datetime import timedelta

import click

from novapulse.cli.options import Location, location_options


@click.group()
def token() -> None:
    """API tokens."""


@token.command()
@click.argument("who", metavar="USER")
@click.option("--name", required=True, help="What the token is for.")
@click.option(
    "--scope", "scopes", multiple=True, required=True, help="A permission; may be given often."
)
@click.option("--expires-in-days", type=click.IntRange(1, 3650), help="By default it never does.")
@location_options
def create(
    location: Location,
    who: str,
    *,
    name: str,
    scopes: tuple[str, ...],
    expires_in_days: int | None,
) -> None:
    """Make an API token for USER (an address or an id); it is printed this once."""
    from novapulse.cli.session import with_context
    from novapulse.core import wire
    from novapulse.core.context import Context
    from novapulse.people import accounts, api_tokens
    from novapulse.people.model import NewApiToken

    async def make(ctx: Context) -> str:
        account = await accounts.get_account(ctx, who)
        ends = expires_in_days and ctx.now() + timedelta(days=expires_in_days)
        fields = {"name": name, "scopes": scopes, "expiresAt": ends or None}
        command = wire.convert(fields, NewApiToken)
        return (await api_tokens.create_for(ctx, account, command)).token

    click.echo(with_context(location, make))
