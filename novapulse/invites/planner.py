"""From events to the withdrawal of invites: of whoever may not send them any more."""

from collections.abc import Sequence

from novapulse.core.context import Runtime
from novapulse.core.events import EventRow
from novapulse.core.ids import derived_id
from novapulse.core.jobs.rows import NewJob
from novapulse.core.pump import Plan
from novapulse.invites.store import InviteStore

_CAUSES = frozenset({"user.disabled", "user.role_changed"})


async def plan_withdrawals(runtime: Runtime, events: Sequence[EventRow], plan: Plan) -> None:
    """A job for each of them who has open invites; it looks at what they may by then."""
    for event in events:
        if event.type not in _CAUSES:
            continue
        sent = InviteStore(runtime.db.tenant(event.company_id), own=event.resource_id)
        if not await sent.pending(limit=1):
            continue
        job = NewJob(
            kind="invite.withdraw",
            payload={"inviter_id": event.resource_id},
            company_id=event.company_id,
            request_id=event.request_id,
            trace=event.trace,
            id=derived_id("job", event.id, "invites"),
        )
        plan.enqueue([runtime.job_row(job)])
