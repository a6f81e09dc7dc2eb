"""The job kind that carries mail."""

from typing import Any

import structlog

from novapulse.core.errors import Invalid
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Queue, job
from novapulse.core.jobs.states import GiveUp
from novapulse.mail.model import Message, check_payload
from novapulse.mail.spool import Spool

log = structlog.get_logger("mail")


@job("mail.send", queue=Queue.EMAIL, sealed=("data", "text", "html"), check=check_payload)
async def send(
    ctx: JobContext,
    *,
    to: str,
    template: str | None = None,
    data: dict[str, Any] | None = None,
    subject: str | None = None,
    text: str | None = None,
    html: str | None = None,
) -> None:
    """Hand one message on; its id is the job's, which makes a repeat harmless."""
    try:
        message = Message(
            id=ctx.job.id,
            to=to,
            created_at=ctx.job.created_at,
            template=template,
            data=data or {},
            subject=subject,
            text=text,
            html=html,
        )
    except Invalid as error:
        raise GiveUp(error.detail) from error
    await ctx.compute(ctx.runtime.feature(Spool).put, message)
    log.info("mail.spooled", jobId=ctx.job.id, template=template, note="no mail server is set")
