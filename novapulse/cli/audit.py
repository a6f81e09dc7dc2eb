"""`novapulse audit …`: the log of who did what."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from novapulse.cli.listing import as_json_option, print_document
from novapulse.cli.options import Location, location_options

if TYPE_CHECKING:
    from novapulse.audit.model import ChainReport
    from novapulse.core.context import Context


@click.group()
def audit() -> None:
    """The log of who did what: verify that nobody changed it, and take it away."""


@audit.command()
@click.option("--company", metavar="ID", help="Only this company's chain, or `platform`.")
@as_json_option
@location_options
def verify(location: Location, company: str | None, as_json: bool) -> None:
    """Walk the chains and name the first line that was changed, removed or put elsewhere.

    Exit 0 when all are whole, 1 when one is not.
    """
    from novapulse.audit import service
    from novapulse.cli.session import with_context

    async def walk(ctx: "Context") -> "list[ChainReport]":
        return [report async for report in service.verify(ctx, company)]

    reports = with_context(location, walk)
    is_whole = all(report.finding is None for report in reports)
    if as_json:
        print_document({"ok": is_whole, "chains": reports})
    else:
        _print(reports)
    sys.exit(0 if is_whole else 1)


def _print(reports: "Sequence[ChainReport]") -> None:
    for report in reports:
        kept = f"{report.lines} lines"
        if report.trimmed:
            kept += f" after {report.trimmed} trimmed ones"
        if report.waiting:
            kept += f", {report.waiting} not yet sealed"
        found = report.finding
        if found is None:
            click.echo(f"ok   {report.company_id}: {kept}, up to {report.hash}")
            continue
        where = f"line {found.seq}" if found.seq else "the chain"
        event = f" ({found.event_id})" if found.event_id else ""
        click.echo(f"BAD  {report.company_id}: {where}{event}: {found.problem}")


@audit.command()
@click.option("--company", metavar="ID", help="Only this company's lines, or `platform`.")
@click.option(
    "--format", "kind", type=click.Choice(("ndjson", "csv")), default="ndjson", show_default=True
)
@click.option("--actor", metavar="ID", help="Only what this user did.")
@click.option("--action", metavar="TYPE", help="Only this, such as user.disabled or user.*.")
@click.option("--resource", metavar="ID", help="Only what was done to this.")
@click.option("--from", "since", type=click.DateTime(), help="Only since then (UTC).")
@click.option("--to", "until", type=click.DateTime(), help="Only before then (UTC).")
@location_options
def export(
    location: Location,
    *,
    company: str | None,
    kind: str,
    since: datetime | None,
    until: datetime | None,
    **chosen: str | None,
) -> None:
    """Print the lines, oldest first, as JSON or CSV; that is a line of the log itself."""
    from novapulse.audit import service
    from novapulse.audit.model import AuditQuery
    from novapulse.cli.session import with_context
    from novapulse.core import wire
    from novapulse.core.rowtext import Form

    span = {"from": since, "to": until}
    moments = {name: at.replace(tzinfo=UTC) for name, at in span.items() if at is not None}
    query = wire.convert({**chosen, **moments}, AuditQuery)
    form: Form = "csv" if kind == "csv" else "ndjson"

    async def write(ctx: "Context") -> None:
        async for text in service.export(ctx, query, company_id=company, kind=form):
            click.echo(text, nl=False)

    with_context(location, write)
