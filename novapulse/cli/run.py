"""`novapulse run`."""

import sys

import click

from novapulse.cli.options import Location, location_options


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Listen there instead of [server] listen.")
@click.option(
    "--roles",
    metavar="ROLE,…",
    help="Run only these: api, scheduler, consumer or consumer:QUEUE (with embedded stores).",
)
@location_options
def run(location: Location, listen: str | None, roles: str | None) -> None:
    """Run the appliance in the foreground: stores, consumers, scheduler and API."""
    from novapulse.core.errors import Invalid
    from novapulse.processes import appliance
    from novapulse.processes.roles import Roles

    try:
        chosen = Roles.parse(roles)
    except Invalid as error:
        raise click.BadParameter(error.detail, param_hint="--roles") from error

    overrides = {"server.listen": listen} if listen else {}
    code = appliance.run(
        lambda: location.load(overrides),
        roles=chosen,
        files_below=location.root,
        say=click.echo,
    )
    sys.exit(code)
