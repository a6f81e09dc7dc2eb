"""`novapulse queue …`: queues of background jobs."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from novapulse.cli.confirm import Consent, consent_options
from novapulse.cli.listing import as_json_option, print_document, print_table
from novapulse.cli.options import Location, location_options

if TYPE_CHECKING:
    from novapulse.core.context import Context
    from novapulse.ops.model import BulkQuery

_STATES = ["scheduled", "available", "retryable", "completed", "cancelled", "dead"]
_RETRIED = ["scheduled", "retryable", "cancelled", "dead"]
_COLUMNS = (
    *("queue", "available", "scheduled", "running", "retryable", "completed", "dead"),
    *("oldest", "rate/min", "paused", "consumers"),
)


@click.group()
def queue() -> None:
    """Queues of background jobs."""


@queue.command(name="list")
@as_json_option
@location_options
def list_queues(location: Location, as_json: bool) -> None:
    """Show each queue's jobs by state, its age, rate and consumers."""
    from novapulse.cli.session import with_context
    from novapulse.ops import queues

    table = with_context(location, queues.queue_table).data
    if as_json:
        print_document({"queues": table})
        return
    rows = [[getattr(row, name) for name in row.__struct_fields__] for row in table]
    print_table(_COLUMNS, [[_shown(value) for value in row] for row in rows])


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.0f} s" if isinstance(value, float) else value


@queue.command()
@click.argument("name")
@location_options
def pause(location: Location, name: str) -> None:
    """Start no more jobs of a queue; running ones finish."""
    _set_paused(location, name, is_paused=True)


@queue.command()
@click.argument("name")
@location_options
def resume(location: Location, name: str) -> None:
    """Start jobs of a paused queue again."""
    _set_paused(location, name, is_paused=False)


def _set_paused(location: Location, name: str, *, is_paused: bool) -> None:
    from novapulse.cli.session import with_context
    from novapulse.ops import queues

    chosen = queues.named_queue(name)
    state = with_context(location, lambda ctx: queues.set_paused(ctx, chosen, is_paused=is_paused))
    click.echo(f"{state.id} is {'paused' if state.paused else 'running'}")


@queue.command()
@click.argument("name")
@click.option("--state", type=click.Choice(_STATES), required=True, help="Jobs in this state.")
@click.option("--kind", help="Only of this kind, such as mail.send.")
@click.option("--since", type=click.DateTime(), help="Only created since then (UTC).")
@consent_options
@location_options
def clear(location: Location, name: str, consent: Consent, **chosen: Any) -> None:
    """Delete a queue's jobs of one state."""
    from novapulse.ops import queues

    _bulk(location, name, verb="delete", consent=consent, use_case=queues.clear_queue, **chosen)


@queue.command()
@click.argument("name")
@click.option("--state", type=click.Choice(_RETRIED), default="dead", help="Jobs in this state.")
@click.option("--kind", help="Only of this kind, such as mail.send.")
@click.option("--since", type=click.DateTime(), help="Only created since then (UTC).")
@consent_options
@location_options
def retry(location: Location, name: str, consent: Consent, **chosen: Any) -> None:
    """Run a queue's jobs of one state again; dead ones unless told otherwise."""
    from novapulse.ops import queues

    _bulk(location, name, verb="retry", consent=consent, use_case=queues.retry_queue, **chosen)


def _bulk(
    location: Location,
    name: str,
    *,
    verb: str,
    consent: Consent,
    use_case: Any,
    **chosen: Any,
) -> None:
    """Count first; then, if that is wanted, do it, batch by batch."""
    from novapulse.cli.session import with_context
    from novapulse.ops import queues

    queue_ = queues.named_queue(name)
    counted = with_context(
        location, lambda ctx: use_case(ctx, queue_, query=_query(dry_run=True, **chosen))
    )
    if not consent.to(f"{verb} {counted.count} {chosen['state']} jobs of {queue_.public_name}"):
        return
    query, done = _query(dry_run=False, **chosen), 0

    async def every_batch(ctx: "Context") -> None:
        """No more than were counted: what comes meanwhile would keep it going for ever."""
        nonlocal done
        has_more = True
        while has_more and done < counted.count:
            batch = await use_case(ctx, queue_, query=query, at_most=counted.count - done)
            done, has_more = done + batch.count, batch.more

    with_context(location, every_batch)
    click.echo(f"{done} jobs of {queue_.public_name}: {verb} done")


def _query(*, state: str, kind: str | None, since: datetime | None, dry_run: bool) -> "BulkQuery":
    from datetime import UTC

    from novapulse.core.jobs.states import State
    from novapulse.ops.model import BulkQuery

    moment = since.replace(tzinfo=UTC) if since else None
    return BulkQuery(state=State(state), kind=kind, since=moment, dry_run=dry_run)
