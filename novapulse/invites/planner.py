"""From events to the withdrawal of invites: of whoever may not send them any more."""

from collections.abc import Sequence

from novapulse.core.context import Runtime
from novapulse.core.events import EventRow
from novapulse.core.ids import derived_id
from novapulse.core.jobs.rows import NewJob
from novapulse.core.pump import Plan
from novapulse.invites.store import companies_invited_to

_CAUSES = frozenset({"user.disabled", "user.role_changed"})


async def plan_withdrawals(runtime: Runtime, events: Sequence[EventRow], plan: Plan) -> None:
    """A job for each of them who has open invites; it looks at what they may by then."""
    causes = [event for event in events if event.type in _CAUSES]
    if not causes:
        return
    invited = await companies_invited_to(runtime.db, [event.resource_id for event in causes])
    for event in causes:
        for company_id in invited.get(event.resource_id, ()):
            job = NewJob(
                kind="invite.withdraw",
                payload={"inviter_id": event.resource_id},
                company_id=company_id,
                request_id=event.request_id,
                trace=event.trace,
                id=derived_id("job", event.id, "invites", company_id),
            )
            plan.enqueue([runtime.job_row(job)])
