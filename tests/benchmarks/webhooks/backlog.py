"""Fills the database for the races: webhooks of two companies, and deliveries that are due."""

from novapulse.core.events import EVENTS
from novapulse.core.jobs.claims import CLAIMS
from novapulse.core.jobs.rows import JOBS
from novapulse.deliveries.store import ATTEMPTS, DELIVERIES, HEALTH
from novapulse.subscriptions.store import WEBHOOKS
from tests.support.dispatching import COMPANY, OTHER, house_over

WEBHOOKS_OF_ALL = 20
BODY_BYTES = 500
_BATCH = 500


async def fill(uri: str, database: str, *, redis_url: str, sink: str, deliveries: int) -> None:
    """`deliveries` due ones, one event each, spread evenly over 20 webhooks."""
    async with house_over(uri, database, redis_url=redis_url) as house:
        for collection in (JOBS, CLAIMS, EVENTS, WEBHOOKS, DELIVERIES, ATTEMPTS, HEALTH):
            await house.db.platform(collection).delete_many({})
        for number in range(WEBHOOKS_OF_ALL):
            company = (COMPANY, OTHER)[number % 2]
            await house.subscribe(f"{sink}/hook/{number}", f"kind.n{number}", company_id=company)
        share = deliveries // WEBHOOKS_OF_ALL
        for start in range(0, share, _BATCH):
            for number in range(WEBHOOKS_OF_ALL):
                await house.emit(
                    min(_BATCH, share - start),
                    event=f"kind.n{number}",
                    company_id=(COMPANY, OTHER)[number % 2],
                    text="y" * BODY_BYTES,
                )
