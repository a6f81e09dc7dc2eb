"""`novapulse doctor`."""

import sys

import click

from novapulse.cli.colour import painted
from novapulse.cli.listing import as_json_option, print_document
from novapulse.cli.options import Location, location_options

_SIGNS = {"ok": "ok", "warn": "look", "bad": "BAD", "skipped": "-"}
_COLOURS = {"warn": "yellow", "bad": "red"}


@click.command()
@click.option("--all", "shows_all", is_flag=True, help="Also show what is well.")
@as_json_option
@location_options
def doctor(location: Location, shows_all: bool, as_json: bool) -> None:
    """Look for what is wrong with machine, files, stores and processes, and say what to do.

    Changes nothing. Exit 0 when nothing is bad, 1 otherwise.
    """
    from novapulse.processes.doctor import examine

    findings = examine(location.load, location.paths())
    is_bad = any(one.verdict == "bad" for one in findings)
    if as_json:
        rows = [one.as_document() for one in findings]
        print_document({"ok": not is_bad, "findings": rows})
        sys.exit(is_bad)
    shown = [one for one in findings if shows_all or one.verdict in ("bad", "warn")]
    for one in shown:
        line = f"{_SIGNS[one.verdict]:<5} {one.name}: {one.found}"
        click.echo(painted(line, _COLOURS.get(one.verdict)))
        for label, text in (("cause", one.cause), ("fix", one.fix)):
            if text:
                click.echo(f"      {label}: {text}")
    counts = {verdict: sum(one.verdict == verdict for one in findings) for verdict in _SIGNS}
    click.echo(
        f"{len(findings)} examined: {counts['bad']} bad, {counts['warn']} to look at, "
        f"{counts['skipped']} not configured or not to be seen now"
    )
    sys.exit(is_bad)
