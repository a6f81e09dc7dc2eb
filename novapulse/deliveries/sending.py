"""One attempt: the request that is sent, what its answer means, and the row that tells of it."""

from datetime import datetime, timedelta

import msgspec

from novapulse.core.crypto import KeyRing
from novapulse.core.exchange import OutboundAnswer, OutboundFailure, OutboundRequest
from novapulse.core.ids import derived_id
from novapulse.core.mongo import Document
from novapulse.core.outbound import OutboundClient
from novapulse.deliveries import answers
from novapulse.deliveries.model import AnswerClass, LastAnswer, Trigger
from novapulse.subscriptions import headers, secrets, signing
from novapulse.subscriptions.model import Subscription

Answer = OutboundAnswer | OutboundFailure


class Errand(msgspec.Struct, frozen=True, gc=False):
    """Which event goes where; `number` is the attempt's."""

    delivery_id: str
    webhook_id: str
    event_id: str
    event: str
    number: int
    trigger: Trigger = Trigger.EVENT

    def ids(self) -> dict[str, str | int]:
        """What a trace says of it."""
        return {
            "delivery_id": self.delivery_id,
            "webhook_id": self.webhook_id,
            "event_id": self.event_id,
            "attempt": self.number,
        }


class Opened:
    """A subscription with its secrets and headers in the clear: only ever in memory."""

    __slots__ = ("_until", "headers", "key_id", "signer", "subscription")

    def __init__(self, keys: KeyRing, subscription: Subscription, *, now: datetime) -> None:
        live = secrets.live(keys, subscription, now)
        ends = [one.expires_at for one in subscription.secrets if one.expires_at is not None]
        self._until = min((end for end in ends if end > now), default=None)
        self.subscription = subscription
        self.signer = signing.Signer([secret.value for secret in live])
        self.key_id = live[0].id
        self.headers = {
            **headers.unseal(keys, subscription),
            "Content-Type": "application/json",
            "X-NovaPulse-Webhook-Id": subscription.webhook.id,
        }

    def is_current(self, now: datetime) -> bool:
        """Until one of its secrets expires."""
        return self._until is None or now < self._until


def request_of(opened: Opened, errand: Errand, *, body: bytes, at: datetime) -> OutboundRequest:
    """The signed request of an attempt that begins `at`."""
    subscription, webhook = opened.subscription, opened.subscription.webhook
    fields = {
        **opened.headers,
        **opened.signer.sign(event_id=errand.event_id, timestamp=int(at.timestamp()), body=body),
        "X-NovaPulse-Event": errand.event,
        "X-NovaPulse-Delivery": errand.delivery_id,
        "X-NovaPulse-Attempt": str(errand.number),
    }
    seconds = float(webhook.timeout_seconds)
    return OutboundRequest("POST", webhook.url, fields, body, seconds, subscription.company_id)


async def send(client: OutboundClient, request: OutboundRequest) -> Answer:
    """The answer, or why there is none."""
    try:
        return await client.send(request)
    except OutboundFailure as failure:
        return failure


def judge(answer: Answer) -> AnswerClass:
    if isinstance(answer, OutboundAnswer):
        return answers.classify(answer.status, answer.headers)
    if answer.kind == "blocked":
        return AnswerClass.BLOCKED
    return AnswerClass.INFRA if answer.is_ours else AnswerClass.TRANSIENT


def error_of(answer: Answer) -> str | None:
    """What went wrong, if there was no answer at all."""
    return None if isinstance(answer, OutboundAnswer) else f"{answer.kind}: {answer.detail}"


def reason_of(answer: Answer) -> str:
    """Why an attempt was no success, in a few words."""
    if isinstance(answer, OutboundAnswer):
        return f"answered {answer.status}"
    return f"{answer.kind}: {answer.detail}"


def last_answer(answer: Answer, result: AnswerClass, *, at: datetime) -> LastAnswer:
    status = answer.status if isinstance(answer, OutboundAnswer) else None
    return LastAnswer(result=result, status=status, error=error_of(answer), at=at)


def attempt_id(delivery_id: str, number: int) -> str:
    """The row of a delivery's attempt: written twice, it is one row."""
    return derived_id("att", delivery_id, str(number))


def attempt_row(
    errand: Errand,
    answer: Answer,
    *,
    result: AnswerClass,
    company_id: str,
    key_id: str,
    at: datetime,
    keep: timedelta,
) -> Document:
    """The attempt (`model.Attempt`) as it is stored."""
    timings = answer.timings
    row: Document = {
        "_id": attempt_id(errand.delivery_id, errand.number),
        "companyId": company_id,
        "deliveryId": errand.delivery_id,
        "eventId": errand.event_id,
        "event": errand.event,
        "webhookId": errand.webhook_id,
        "attempt": errand.number,
        "trigger": errand.trigger.value,
        "class": result.value,
        "status": None,
        "error": None,
        "peerIp": answer.peer_ip,
        "timings": {
            "dnsMs": timings.dns_ms,
            "connectMs": timings.connect_ms,
            "tlsMs": timings.tls_ms,
            "firstByteMs": timings.first_byte_ms,
            "totalMs": timings.total_ms,
        },
        "headers": {},
        "body": "",
        "truncated": False,
        "keyId": key_id,
        "createdAt": at,
        "expiresAt": at + keep,
    }
    if isinstance(answer, OutboundAnswer):
        row["status"] = answer.status
        row["headers"] = answer.headers
        row["body"] = answer.body.decode("utf-8", "replace")
        row["truncated"] = answer.truncated
    else:
        row["error"] = error_of(answer)
    return row
