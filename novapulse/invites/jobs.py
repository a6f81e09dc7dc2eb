"""The job kind that withdraws invites."""

from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Queue, job
from novapulse.invites import service


@job("invite.withdraw", queue=Queue.WORKFLOW)
async def withdraw(ctx: JobContext, *, inviter_id: str) -> None:
    """Withdraw the open invites that their sender may not send any more."""
    await service.withdraw_invites_of(ctx, inviter_id)
