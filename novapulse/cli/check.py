"""`novapulse check`: one question, answered by the exit code."""

from typing import Any

import click

from novapulse.cli.listing import as_json_option, print_document
from novapulse.cli.options import Location, location_options


@click.command()
@click.argument("what", type=click.Choice(["live", "ready", "stores"]))
@as_json_option
@location_options
def check(location: Location, what: str, as_json: bool) -> None:
    """Ask whether it runs (live), serves (ready) or reaches its stores: exit 0 yes, 1 no.

    69 when it does not run at all. For probes of containers and load balancers.
    """
    from novapulse.processes import checks

    verdict: dict[str, Any] = getattr(checks, f"check_{what}")(location.paths())
    if as_json:
        print_document({"check": what, **verdict})
    else:
        click.echo(verdict["detail"])
    raise SystemExit(0 if verdict["ok"] else 1)
