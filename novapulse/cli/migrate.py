"""`novapulse migrate …`: the database's schema and indexes."""

import sys

import click

from novapulse.cli.listing import as_json_option, print_document
from novapulse.cli.options import Location, location_options


@click.group()
def migrate() -> None:
    """The database's schema: where it stands, and bringing it up to date."""


@migrate.command()
@as_json_option
@location_options
def status(location: Location, as_json: bool) -> None:
    """Say which steps are missing, and which indexes are not as declared.

    Exit 0 when the database is up to date, 1 when it is not.
    """
    from novapulse.cli.session import keep_stdout_for_the_result
    from novapulse.processes import schema

    keep_stdout_for_the_result()
    state, drifts = schema.look(location.load())
    is_well = state.number == state.known and not drifts
    if as_json:
        print_document({"ok": is_well, "database": state, "drift": drifts})
        sys.exit(0 if is_well else 1)
    click.echo(f"schema {state.number}; this program knows {state.known}")
    for title in state.pending:
        click.echo(f"to do: {title}")
    for one in drifts:
        click.echo(f"index {one.collection}.{one.index} {one.problem}")
    if state.held_by is not None:
        click.echo(f"being migrated by {state.held_by}")
    sys.exit(0 if is_well else 1)


@migrate.command()
@as_json_option
@location_options
def up(location: Location, as_json: bool) -> None:
    """Do the steps that are missing, and build indexes. Every start does that too.

    The program may run meanwhile. Exit 78 when the database is a newer program's.
    """
    from novapulse.cli.session import keep_stdout_for_the_result
    from novapulse.processes import schema

    keep_stdout_for_the_result()
    number = schema.bring_up(location.load())
    if as_json:
        print_document({"number": number})
    else:
        click.echo(f"schema {number}; all indexes are there")
