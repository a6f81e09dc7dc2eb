"""The actions that belong to no other feature: mail, notifications, calls, a line in the log."""

from typing import Annotated, Any, Literal

import msgspec
import structlog
from msgspec import UNSET, UnsetType

from novapulse.core import wire
from novapulse.core.actions import action
from novapulse.core.context import Context
from novapulse.core.exchange import OutboundAnswer, OutboundFailure, OutboundRequest
from novapulse.core.fields import ObjectId
from novapulse.core.jobs.states import GiveUp, Retry, Snooze
from novapulse.core.outbound import OutboundClient
from novapulse.identity.model import Command

log = structlog.get_logger("workflows")
_MAX_CALL_SECONDS = 30.0
_MAX_RETRY_AFTER_SECONDS = 3_600.0
_INFRA_SECONDS = 5.0
_KEPT_CHARACTERS = 4_096
_TRY_AGAIN = frozenset({408, 425, 429})
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=10_000)]


class SendEmail(Command, frozen=True, kw_only=True):
    to: Annotated[
        str, msgspec.Meta(min_length=3, max_length=320, pattern=r"^[^\s@]+@[^\s@]+(?!\n)$")
    ]
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=50_000)]
    html: Annotated[str, msgspec.Meta(max_length=50_000)] | None = None


@action("send_email")
async def send_email(ctx: Context, command: SendEmail, *, key: str) -> dict[str, Any]:
    """Hand a mail to the queue `email`, once; what a mail server does with it is another matter."""
    async with ctx.transaction() as tx:
        payload = {"to": command.to, "subject": command.subject, "text": command.text}
        if command.html is not None:
            payload["html"] = command.html
        return {"jobId": await tx.enqueue("mail.send", payload, key=key)}


class SendNotification(Command, frozen=True, kw_only=True):
    user_ids: Annotated[tuple[ObjectId, ...], msgspec.Meta(min_length=1, max_length=200)]
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    body: Annotated[str, msgspec.Meta(max_length=4_000)] | None = None
    link: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None


@action("send_notification")
async def send_notification(ctx: Context, command: SendNotification, *, key: str) -> dict[str, Any]:
    """Have members of the company notified, once."""
    payload = {
        "user_ids": list(command.user_ids),
        "title": command.title,
        "body": command.body,
        "link": command.link,
    }
    async with ctx.transaction() as tx:
        return {"jobId": await tx.enqueue("notification.create", payload, key=key)}


class WriteLog(Command, frozen=True, kw_only=True):
    message: Text


@action("log")
async def write_log(ctx: Context, command: WriteLog, *, key: str) -> dict[str, Any]:
    """A line in the program's log, and in the record of the step."""
    log.info("workflow.log", message=command.message, stepId=key, companyId=ctx.company_id)
    return {"message": command.message}


class CallWebhook(Command, frozen=True, kw_only=True):
    """A text as `body` is sent as it is, anything else as JSON."""

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=2_048)]
    method: Literal["POST", "PUT", "PATCH", "GET", "DELETE"] = "POST"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: Any | UnsetType = UNSET


@action("call_webhook", is_remote=True)
async def call_webhook(ctx: Context, command: CallWebhook, *, key: str) -> dict[str, Any]:
    """One HTTP request, with the step's key as its Idempotency-Key.

    Raises:
        Retry: no answer, or one that says that another try may help.
        GiveUp: the address is not allowed, or any other answer but 2xx.
        Snooze: our own way out does not work.
    """
    client, request = ctx.runtime.feature(OutboundClient), _request(ctx, command, key)
    try:
        answer = await client.send(request)
    except OutboundFailure as error:
        if error.is_ours:
            raise Snooze(error.detail, seconds=_INFRA_SECONDS) from error
        if error.kind == "blocked":
            raise GiveUp(error.detail) from error
        raise Retry(error.detail) from error
    if 200 <= answer.status < 300:
        return {"status": answer.status, "body": _kept(answer)}
    reason = f"answered {answer.status}"
    if answer.status in _TRY_AGAIN or answer.status >= 500:
        raise Retry(reason, after_seconds=_retry_after(answer))
    raise GiveUp(reason)


def _request(ctx: Context, command: CallWebhook, key: str) -> OutboundRequest:
    headers = {"User-Agent": "NovaPulse-Workflows"}
    body = b""
    if isinstance(command.body, str):
        headers["Content-Type"] = "text/plain; charset=utf-8"
        body = command.body.encode()
    elif command.body is not UNSET:
        headers["Content-Type"] = "application/json"
        body = wire.encode(command.body)
    given = {name.title(): value for name, value in command.headers.items()}
    seconds = min(_MAX_CALL_SECONDS, ctx.runtime.settings.workflows.step_timeout_seconds)
    headers = {**headers, **given, "Idempotency-Key": key}
    return OutboundRequest(command.method, command.url, headers, body, seconds, ctx.company_id)


def _kept(answer: OutboundAnswer) -> Any:
    """The body as JSON where it is a whole one, else the beginning of its text."""
    if "json" in answer.headers.get("content-type", "") and not answer.truncated:
        try:
            return msgspec.json.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    return answer.body.decode("utf-8", "replace")[:_KEPT_CHARACTERS]


def _retry_after(answer: OutboundAnswer) -> float | None:
    """The seconds that the receiver asks for, up to an hour; None: the queue's backoff."""
    text = answer.headers.get("retry-after", "")
    return min(float(text), _MAX_RETRY_AFTER_SECONDS) if text.isascii() and text.isdigit() else None
