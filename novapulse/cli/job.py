"""`novapulse job …`: one background job."""

from typing import TYPE_CHECKING

import click

from novapulse.cli.listing import as_json_option, print_document
from novapulse.cli.options import Location, location_options

if TYPE_CHECKING:
    from novapulse.ops.model import JobView


@click.group()
def job() -> None:
    """One background job."""


@job.command()
@click.argument("job_id")
@as_json_option
@location_options
def show(location: Location, job_id: str, as_json: bool) -> None:
    """Show a job: payload, attempts, errors and times."""
    from novapulse.cli.session import with_context
    from novapulse.ops import queues

    _print(with_context(location, lambda ctx: queues.get_job(ctx, job_id)), as_json=as_json)


@job.command()
@click.argument("job_id")
@as_json_option
@location_options
def retry(location: Location, job_id: str, as_json: bool) -> None:
    """Run a dead or waiting job as soon as possible."""
    from novapulse.cli.session import with_context
    from novapulse.ops import queues

    _print(with_context(location, lambda ctx: queues.retry_job(ctx, job_id)), as_json=as_json)


@job.command()
@click.argument("job_id")
@as_json_option
@location_options
def cancel(location: Location, job_id: str, as_json: bool) -> None:
    """End a job that has not ended."""
    from novapulse.cli.session import with_context
    from novapulse.ops import queues

    _print(with_context(location, lambda ctx: queues.cancel_job(ctx, job_id)), as_json=as_json)


def _print(view: "JobView", *, as_json: bool) -> None:
    if as_json:
        print_document({"job": view})
        return
    from novapulse.core import wire

    fields = wire.to_wire(view)
    errors = fields.pop("errors")
    width = max(map(len, fields))
    for name, value in fields.items():
        click.echo(f"{name:<{width}}  {'' if value is None else value}")
    for error in errors:
        click.echo(f"attempt {error['attempt']} at {error['at']}: {error['message']}")
