"""From events to the withdrawal of invites: of whoever may not send them any more."""

from collections.abc import Sequence

from novapulse.core.context import Runtime
from novapulse.core.events import PLATFORM, EventRow
from novapulse.core.ids import derived_id
from novapulse.core.jobs.rows import NewJob
from novapulse.core.mongo import Database
from novapulse.core.pump import Plan
from novapulse.invites.store import InviteStore, companies_invited_to

_CAUSES = frozenset({"user.disabled", "user.role_changed"})


async def plan_withdrawals(runtime: Runtime, events: Sequence[EventRow], plan: Plan) -> None:
    """A job for each of them who has open invites; it looks at what they may by then."""
    for event in events:
        if event.type not in _CAUSES:
            continue
        for company_id in await _invited_to(runtime.db, event):
            job = NewJob(
                kind="invite.withdraw",
                payload={"inviter_id": event.resource_id},
                company_id=company_id,
                request_id=event.request_id,
                trace=event.trace,
                id=derived_id("job", event.id, "invites", company_id),
            )
            plan.enqueue([runtime.job_row(job)])


async def _invited_to(db: Database, event: EventRow) -> list[str]:
    """The companies that whom the event is about has open invites to: an operator invites to any."""
    if event.company_id == PLATFORM:
        return await companies_invited_to(db, event.resource_id)
    sent = InviteStore(db.tenant(event.company_id), own=event.resource_id)
    return [event.company_id] if await sent.pending(limit=1) else []
