"""The job kind that carries mail."""

from typing import Any

import structlog

from novapulse.core.errors import Invalid
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Queue, job
from novapulse.core.jobs.states import GiveUp, Retry, Snooze
from novapulse.core.telemetry import metrics
from novapulse.identity.model import email_key
from novapulse.identity.store import CompanyStore
from novapulse.mail.compose import compose, recipient
from novapulse.mail.mailer import Mailer
from novapulse.mail.model import Message, Suppression, check_payload
from novapulse.mail.refusals import Deferred, Refused, Waited
from novapulse.mail.store import SuppressionStore

log = structlog.get_logger("mail")
_BEHIND_SECONDS = 2.0


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
    mailer = ctx.runtime.feature(Mailer)
    if mailer.server is not None:
        await _refuse_suppressed(ctx, to)
    try:
        mail = await ctx.compute(compose, message, mailer.sender, await _company_name(ctx))
    except Invalid as error:  # of an address that nobody can have
        raise GiveUp(error.detail) from error
    if mailer.server is None:
        await ctx.compute(mailer.put, message.id, mail)
        _note("spooled", ctx, template=template, note="no mail server is set")
    else:
        await _hand_over(ctx, mailer, message=message, mail=mail)


async def _company_name(ctx: JobContext) -> str | None:
    """What the mail is from; a script's job may be of no company."""
    if ctx.job.company_id is None:
        return None
    company = await CompanyStore(ctx.read()).find()
    return company.name if company else None


async def _refuse_suppressed(ctx: JobContext, to: str) -> None:
    known = await SuppressionStore(ctx.runtime.db).find(to)
    if known is not None:
        _note("suppressed", ctx)
        raise GiveUp(
            f"not sent: {known.address} is suppressed since {known.created_at:%Y-%m-%d} "
            f"({known.reason}); novapulse mail suppressions remove lets it be tried again"
        )


async def _hand_over(ctx: JobContext, mailer: Mailer, *, message: Message, mail: Any) -> None:
    assert mailer.server is not None  # noqa: S101 - the caller looked
    try:
        answer = await mailer.server.send(mail, recipient(message.to).addr_spec)
    except Waited as error:
        raise Snooze(f"not tried: {error}", seconds=_BEHIND_SECONDS) from error
    except Deferred as error:
        _note("deferred", ctx, reason=str(error))
        raise Retry(str(error)) from error
    except Refused as error:
        _note("refused", ctx, reason=str(error))
        if error.is_about_recipient:
            await _suppress(ctx, message.to, reason=str(error))
        raise GiveUp(str(error)) from error
    _note("sent", ctx, template=message.template, answer=answer)


async def _suppress(ctx: JobContext, to: str, *, reason: str) -> None:
    suppression = Suppression(
        id=email_key(to), address=to, reason=reason, job_id=ctx.job.id, created_at=ctx.now()
    )
    await SuppressionStore(ctx.runtime.db).add(suppression)


def _note(outcome: str, ctx: JobContext, **facts: str | None) -> None:
    metrics.mails_total.labels(outcome).inc()
    told = {name: fact for name, fact in facts.items() if fact}
    log.info(f"mail.{outcome}", jobId=ctx.job.id, **told)
