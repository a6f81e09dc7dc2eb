"""The job kind that tells people something; workflows use it by its name."""

from datetime import timedelta

from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Queue, job
from novapulse.notifications.model import NotificationType, Text, check_payload
from novapulse.notifications.store import Mailroom


@job("notification.create", queue=Queue.WORKFLOW, check=check_payload)
async def create(
    ctx: JobContext,
    *,
    user_ids: list[str],
    title: str,
    body: str | None = None,
    link: str | None = None,
) -> None:
    """Notify members of the job's company, once for its key (its id, without one).

    Who is no active member of the company is left out.
    """
    text = Text(type=NotificationType.MESSAGE, title=title, body=body, link=link)
    cause = f"{ctx.company_id}\0{ctx.job.key}" if ctx.job.key else ctx.job.id
    keep = timedelta(days=ctx.runtime.settings.notifications.keep_days)
    mailroom = Mailroom(ctx.read())
    members = await mailroom.members(user_ids)
    await mailroom.add(text.to(one, cause=cause, at=ctx.now(), keep=keep) for one in members)
