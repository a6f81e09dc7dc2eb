"""`novapulse version`."""

import json

import click

from novapulse import __version__


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")
def version(as_json: bool) -> None:
    """Print the program's version."""
    click.echo(json.dumps({"schema": 1, "version": __version__}) if as_json else __version__)
