"""`novapulse status`."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from novapulse.cli.colour import painted
from novapulse.cli.listing import as_json_option, print_document, print_table
from novapulse.cli.options import Location, location_options
from novapulse.cli.remote import NotRunning

_WATCH_SECONDS = 2.0
_CLEAR = "\x1b[H\x1b[2J"
_COLUMNS = ("PROCESS", "STATE", "PID", "RESTARTS", "UPTIME", "MEMORY", "WHY")
_WELL, _PASSING, _TROUBLED = "green", "yellow", "red"
_STATE_COLOURS = {
    **dict.fromkeys(("unhealthy", "backoff", "quarantined", "config_error"), _TROUBLED),
    **dict.fromkeys(("blocked", "starting", "draining", "stopping"), _PASSING),
}


@click.command()
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@as_json_option
@location_options
def status(location: Location, watch: bool, as_json: bool) -> None:
    """Say how the appliance is and what to do next: exit 0 ready, 1 not quite, 69 not running."""
    if watch and as_json:
        raise click.UsageError("a document has an end: give --watch or --json, not both")
    if watch:
        _watch(location)
        return
    report = _read(location)
    if as_json:
        print_document(report)
    else:
        _print(report)
    sys.exit(0 if report["state"] == "ready" else 1)


def _read(location: Location) -> dict[str, Any]:
    from novapulse.core.errors import Unavailable
    from novapulse.processes.status import read_status

    try:
        return read_status(location.paths())
    except Unavailable as error:
        raise NotRunning(error.detail, location) from error


def _watch(location: Location) -> None:
    try:
        while True:
            try:
                report = _read(location)
            except NotRunning as error:
                report = {"headline": error.detail, "next": error.hint}
            click.echo(_CLEAR if sys.stdout is not None and sys.stdout.isatty() else "", nl=False)
            _print(report)
            time.sleep(_WATCH_SECONDS)
    except KeyboardInterrupt:  # that is how one leaves
        sys.exit(0)


def _print(report: Mapping[str, Any]) -> None:
    """First what is wrong and what to do about it, then what it is concluded from."""
    click.echo(painted(report["headline"], _headline_colour(report)))
    if report["next"]:
        click.echo(f"Next: {report['next']}")
    if "processes" not in report:
        return
    click.echo("")
    rows = report["processes"]
    colours = [_STATE_COLOURS.get(one["state"]) for one in rows]
    print_table(_COLUMNS, [_row(one) for one in rows], colours=colours)
    click.echo("")
    for name, check in report["stores"].items():
        click.echo(f"{name}: {check['status']} {check.get('detail') or ''}".rstrip())
    for name, queue in report["queues"].items():
        jobs = ", ".join(f"{number} {state}" for state, number in queue.items() if number)
        click.echo(f"{name}: {jobs or 'empty'}")
    if unsealed := report["audit"]["unsealed"]:
        click.echo(f"audit: {unsealed} lines not yet sealed")
    for alert in report["alerts"]:
        click.echo(f"alert: {alert['name']} since {alert['since']}: {alert['summary']}")
    disk = report["disk"]
    click.echo(f"disk: {disk['status']}, {disk['freeBytes'] / 2**30:.1f} GiB free")


def _headline_colour(report: Mapping[str, Any]) -> str:
    if report.get("state") == "ready":
        return _PASSING if report["next"] else _WELL
    return _PASSING if report.get("state") in ("starting", "drained") else _TROUBLED


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    why = one["reason"] or ""
    if one["retryInSeconds"] is not None:
        why += f"; next try in {one['retryInSeconds']:.0f} s"
    return (
        one["name"] if one["part"] == "serving" else f"  {one['part']}",
        one["state"],
        str(one["pid"] or ""),
        str(one["restarts"]),
        duration(one["uptimeSeconds"]),
        f"{one['rssBytes'] / 2**20:.0f} MiB" if one["rssBytes"] else "",
        why,
    )


def duration(seconds: float | None) -> str:
    """`42 s`, `17 min`, `5 h`, `12 d`."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
