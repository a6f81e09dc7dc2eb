"""The job kinds that bring runs on; their attempts and waits are the queue's."""

from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Queue, job
from novapulse.core.repeating import repeated
from novapulse.runs import execution, starting


@job("workflow.run", queue=Queue.WORKFLOW)
async def run(ctx: JobContext, *, run_id: str) -> None:
    """Start a run: its conditions, then its first steps."""
    await repeated(lambda: starting.start(ctx, run_id))


@job("workflow.step", queue=Queue.WORKFLOW)
async def step(ctx: JobContext, *, run_id: str, step_id: str) -> None:
    """Do one step of a run and plan what follows; a repeat of a concluded one does nothing."""
    await execution.perform(ctx, run_id, step_id)
