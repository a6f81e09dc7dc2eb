"""`novapulse reload`."""

from collections.abc import Mapping
from typing import Any

import click

from novapulse.cli.listing import as_json_option, print_document
from novapulse.cli.options import Location, location_options
from novapulse.cli.remote import ask
from novapulse.cli.talk import say


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@as_json_option
@location_options
def reload(location: Location, dry_run: bool, as_json: bool) -> None:
    """Put the changed configuration in force and wait until it is; a bad one changes nothing."""
    answer = ask(location, "reload", progress=say, dryRun=dry_run)
    if as_json:
        print_document(answer)
        return
    print_changes(answer["changes"])
    if dry_run:
        return
    click.echo("The configuration is in force." if answer["changes"] else "Nothing has changed.")


def print_changes(changes: list[Mapping[str, Any]]) -> None:
    for change in changes:
        what = f"{change['before']} → {change['after']}"
        if change["key"].endswith("_file") and change["before"] == change["after"]:
            what = "what is in it"
        click.echo(f"{change['key']}: {what} ({change['reload']})")
