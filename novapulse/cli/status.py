"""`novapulse status`."""

import json
import sys
from typing import Any

import click

from novapulse.cli.options import Location, location_options


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")
@location_options
def status(location: Location, as_json: bool) -> None:
    """Say how the appliance is: exit 0 ready, 1 not quite, 69 not running."""
    from novapulse.processes.status import read_status

    report = read_status(location.load())
    if as_json:
        click.echo(json.dumps(report))
    else:
        _print(report)
    sys.exit(0 if report["state"] == "ready" else 1)


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    console.print(f"NovaPulse is {report['state']} at {report['url']}")
    table = Table("process", "state", "pid", "restarts", "uptime", "memory", "why", box=None)
    for one in report["processes"]:
        table.add_row(
            one["name"],
            one["state"],
            str(one["pid"] or ""),
            str(one["restarts"]),
            f"{one['uptimeSeconds']:.0f} s" if one["uptimeSeconds"] is not None else "",
            f"{one['rssBytes'] / 2**20:.0f} MiB" if one["rssBytes"] else "",
            one["reason"] or "",
        )
    console.print(table)
    for name, check in report["stores"].items():
        console.print(f"{name}: {check['status']} {check.get('detail', '')}".rstrip())
    for name, queue in report["queues"].items():
        open_jobs = ", ".join(f"{number} {state}" for state, number in queue.items() if number)
        console.print(f"{name}: {open_jobs or 'empty'}")
