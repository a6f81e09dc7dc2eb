"""`novapulse webhook …`: what is sent to whom, and a receiver to try it with."""

import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from novapulse.cli import webhook_checks
from novapulse.cli.listing import as_json_option, print_document, print_rows, print_table
from novapulse.cli.options import Location, location_options

if TYPE_CHECKING:
    from novapulse.core.context import Context

T = TypeVar("T")
_STATES = ["active", "paused", "disabled"]
_DELIVERY_STATES = ["pending", "sending", "retry", "delivered", "exhausted", "discarded", "held"]


@click.group()
def webhook() -> None:
    """Webhooks: what is sent to whom, and a receiver to try it with."""


webhook.add_command(webhook_checks.verify)
webhook.add_command(webhook_checks.listen)


@webhook.command(name="list")
@click.option("--company", metavar="ID", help="Only this company's.")
@click.option("--state", type=click.Choice(_STATES), help="Only those in this state.")
@as_json_option
@location_options
def list_webhooks(
    location: Location, *, company: str | None, state: str | None, as_json: bool
) -> None:
    """List webhooks, newest first."""
    from novapulse.cli.session import every_page, with_context
    from novapulse.subscriptions import service
    from novapulse.subscriptions.model import OwnedWebhook, PageQuery

    async def read(ctx: "Context") -> list[OwnedWebhook]:
        found = await every_page(service.list_all_webhooks, ctx, PageQuery(limit=200))
        return [
            one
            for one in found
            if company in (None, one.company_id) and state in (None, str(one.state))
        ]

    rows = with_context(location, read)
    if as_json:
        print_document({"webhooks": rows})
        return
    columns = ("id", "company", "state", "events", "url", "description")
    print_table(
        columns,
        [
            (one.id, one.company_id, one.state, " ".join(one.events), one.url, one.description)
            for one in rows
        ],
    )


@webhook.command()
@click.argument("webhook_id")
@as_json_option
@location_options
def test(location: Location, webhook_id: str, as_json: bool) -> None:
    """Send `webhook.test` to a webhook now: exit 0 when it is answered with 2xx, 1 otherwise."""
    from novapulse.deliveries.model import AnswerClass, Attempt
    from novapulse.webhooks import service

    async def send(ctx: "Context") -> Attempt:
        return await service.send_test(await service.acting_on_webhook(ctx, webhook_id), webhook_id)

    attempt = _with_way_out(location, send)
    if as_json:
        print_document({"ok": attempt.result is AnswerClass.OK, "attempt": attempt})
    else:
        what = attempt.error or f"answered {attempt.status}"
        where = f" by {attempt.peer_ip}" if attempt.peer_ip else ""
        click.echo(f"{attempt.result}: {what}{where} in {attempt.timings.total_ms:.0f} ms")
    sys.exit(0 if attempt.result is AnswerClass.OK else 1)


def _with_way_out(location: Location, use_case: "Callable[[Context], Awaitable[T]]") -> T:
    """A use case that sends something."""
    from novapulse.cli.session import with_context
    from novapulse.processes.runtime import outbound_client

    async def run(ctx: "Context") -> T:
        client = outbound_client(location.load())
        ctx.runtime.add(client)
        try:
            return await use_case(ctx)
        finally:
            await client.aclose()

    return with_context(location, run)


@webhook.command()
@click.argument("webhook_id")
@click.option("--state", type=click.Choice(_DELIVERY_STATES), help="Only those in this state.")
@click.option("--event", metavar="TYPE", help="Only of this type, such as task.created.")
@click.option("--since", type=click.DateTime(), help="Only since then (UTC).")
@click.option(
    *("-n", "--limit"), type=click.IntRange(1, 200), default=50, show_default=True, help="How many."
)
@as_json_option
@location_options
def deliveries(
    location: Location, webhook_id: str, *, as_json: bool, since: datetime | None, **chosen: Any
) -> None:
    """List what a webhook got or is to get, newest first."""
    from novapulse.cli.session import with_context
    from novapulse.core import wire
    from novapulse.deliveries.model import Delivery
    from novapulse.webhooks import service
    from novapulse.webhooks.model import DeliveryQuery

    moment = {"from": since.replace(tzinfo=UTC)} if since else {}
    given = {name: value for name, value in chosen.items() if value is not None}
    query = wire.convert({**given, **moment}, DeliveryQuery)

    async def read(ctx: "Context") -> list[Delivery]:
        acting = await service.acting_on_webhook(ctx, webhook_id)
        return (await service.list_deliveries(acting, webhook_id, query)).data

    columns = ("id", "createdAt", "event", "state", "attempts", "status", "reason")
    print_rows("deliveries", with_context(location, read), columns=columns, as_json=as_json)


@webhook.command()
@click.argument("delivery_id")
@as_json_option
@location_options
def replay(location: Location, delivery_id: str, as_json: bool) -> None:
    """Deliver the same event once more; also one that was delivered."""
    from novapulse.cli.session import with_context
    from novapulse.deliveries.model import Delivery
    from novapulse.webhooks import service

    async def send(ctx: "Context") -> Delivery:
        return await service.replay(await service.acting_on_delivery(ctx, delivery_id), delivery_id)

    made = with_context(location, send)
    if as_json:
        print_document({"delivery": made})
    else:
        click.echo(f"{made.event_id} is delivered once more as {made.id}")


@webhook.command()
@click.argument("webhook_id")
@click.option("--since", type=click.DateTime(), required=True, help="From then on (UTC).")
@click.option("--until", type=click.DateTime(), help="Up to then (UTC); otherwise up to now.")
@as_json_option
@location_options
def recover(
    location: Location,
    webhook_id: str,
    *,
    since: datetime,
    until: datetime | None,
    as_json: bool,
) -> None:
    """Deliver anew what failed or was held in a span of time, in the background."""
    from novapulse.cli.session import with_context
    from novapulse.webhooks import service
    from novapulse.webhooks.model import Recover, Recovering

    command = Recover(
        since=since.replace(tzinfo=UTC), until=until.replace(tzinfo=UTC) if until else None
    )

    async def begin(ctx: "Context") -> Recovering:
        acting = await service.acting_on_webhook(ctx, webhook_id)
        return await service.recover(acting, webhook_id, command)

    begun = with_context(location, begin)
    if as_json:
        print_document({"recovery": begun})
    else:
        click.echo(
            f"{begun.job_id} recovers; novapulse job show {begun.job_id} shows how far it is"
        )
