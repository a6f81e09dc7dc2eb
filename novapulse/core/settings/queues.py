"""The settings of background work: the four queues and webhook delivery."""

from typing import Annotated, Literal

from novapulse.core.settings.addresses import check_http_url, check_network
from novapulse.core.settings.declare import About, Key, Reload, Section

# The longest deadline a webhook may ask for itself, and the time to write its outcome down.
LONGEST_WEBHOOK_SECONDS = 30
_RECORDING_SECONDS = 15


class Queue(Section, frozen=True, kw_only=True):
    processes: Annotated[
        int,
        Key(
            help="Consumer processes; 0 leaves the queue to another machine.",
            reload=Reload.SLOTS,
            unit="processes",
            minimum=0,
            maximum=16,
        ),
    ] = 1
    concurrency: Annotated[
        int,
        Key(
            help="Jobs that one consumer works on at the same time.",
            reload=Reload.CONSUMERS,
            unit="jobs",
            minimum=1,
            maximum=1_000,
        ),
    ] = 5
    attempts: Annotated[
        int,
        Key(
            help="Starts of a job before it is dead, unless it was enqueued with its own number.",
            reload=Reload.CONSUMERS,
            unit="attempts",
            minimum=1,
            maximum=50,
        ),
    ] = 5
    backoff: Annotated[
        Literal["exponential", "fixed"],
        Key(
            help="Wait after a failed attempt: doubling each time, or always the same.",
            reload=Reload.LIVE,
        ),
    ] = "exponential"
    backoff_seconds: Annotated[
        float,
        Key(
            help="The first wait after a failure; up to 20 % are added.",
            reload=Reload.LIVE,
            unit="seconds",
            minimum=0.1,
            maximum=86_400,
        ),
    ] = 2.0
    timeout_seconds: Annotated[
        float,
        Key(
            help="Deadline of one attempt, unless the job's kind has its own.",
            reload=Reload.LIVE,
            unit="seconds",
            minimum=1,
            maximum=86_400,
        ),
    ] = 60.0


class WebhookQueue(Queue, frozen=True, kw_only=True):
    lease_seconds: Annotated[
        float,
        Key(
            help="As queues.lease_seconds; it must outlast the longest attempt and its record.",
            reload=Reload.CONSUMERS,
            unit="seconds",
            minimum=LONGEST_WEBHOOK_SECONDS + _RECORDING_SECONDS,
            maximum=3_600,
        ),
    ] = float(LONGEST_WEBHOOK_SECONDS + _RECORDING_SECONDS)


class Queues(Section, frozen=True, kw_only=True):
    concurrency: Annotated[
        int,
        Key(
            help="One concurrency for all queues; 0 means that each has its own.",
            reload=Reload.CONSUMERS,
            unit="jobs",
            minimum=0,
            maximum=1_000,
        ),
    ] = 0
    lease_seconds: Annotated[
        float,
        Key(
            help="A claimed job whose consumer is silent for so long is given to another one.",
            reload=Reload.CONSUMERS,
            unit="seconds",
            minimum=1,
            maximum=3_600,
        ),
    ] = 30.0
    completed_keep_hours: Annotated[
        int,
        Key(
            help="How long completed jobs stay to be looked at.",
            reload=Reload.LIVE,
            unit="hours",
            minimum=1,
            maximum=8_760,
        ),
    ] = 24
    completed_keep_jobs: Annotated[
        int,
        Key(
            help="Most completed jobs that one queue keeps.",
            reload=Reload.LIVE,
            unit="jobs",
            minimum=0,
            maximum=10_000_000,
        ),
    ] = 10_000
    dead_keep_days: Annotated[
        int,
        Key(
            help="How long dead jobs stay to be retried.",
            reload=Reload.LIVE,
            unit="days",
            minimum=1,
            maximum=3_650,
        ),
    ] = 30
    email: Annotated[Queue, About("Mail.")] = Queue()
    webhook: Annotated[
        WebhookQueue,
        About("Webhook deliveries; their attempts, waits and deadline are the webhook's own."),
    ] = WebhookQueue(concurrency=200, attempts=3, timeout_seconds=300.0)
    workflow: Annotated[Queue, About("Workflow runs.")] = Queue(
        concurrency=3, attempts=3, timeout_seconds=300.0
    )
    report: Annotated[Queue, About("Reports and exports.")] = Queue(
        concurrency=2, attempts=2, backoff="fixed", backoff_seconds=5.0, timeout_seconds=1_800.0
    )

    def named(self, name: str) -> Queue:
        """The settings of `email`, `webhook`, `workflow` or `report`."""
        return self.each()[name]

    def each(self) -> dict[str, Queue]:
        """Name to settings, in the order of the file."""
        return {
            "email": self.email,
            "webhook": self.webhook,
            "workflow": self.workflow,
            "report": self.report,
        }

    def concurrency_of(self, name: str) -> int:
        return self.concurrency or self.named(name).concurrency

    def lease_seconds_of(self, name: str) -> float:
        queue = self.named(name)
        return queue.lease_seconds if isinstance(queue, WebhookQueue) else self.lease_seconds


class Webhooks(Section, frozen=True, kw_only=True):
    allow_networks: Annotated[
        tuple[str, ...],
        Key(
            help="Private networks that receivers may be in, such as 10.20.0.0/16.",
            reload=Reload.LIVE,
            check=check_network,
        ),
    ] = ()
    https_only: Annotated[
        bool,
        Key(help="Refuse receivers with http:// URLs.", reload=Reload.LIVE),
    ] = False
    timeout_seconds: Annotated[
        float,
        Key(
            help="Deadline of one attempt, answer included, where the webhook sets none.",
            reload=Reload.LIVE,
            unit="seconds",
            minimum=1,
            maximum=LONGEST_WEBHOOK_SECONDS,
        ),
    ] = 15.0
    connect_timeout_seconds: Annotated[
        float,
        Key(
            help="Deadline of connecting to a receiver.",
            reload=Reload.LIVE,
            unit="seconds",
            minimum=0.1,
            maximum=LONGEST_WEBHOOK_SECONDS,
        ),
    ] = 5.0
    dns_timeout_seconds: Annotated[
        float,
        Key(
            help="Deadline of looking a receiver's name up.",
            reload=Reload.LIVE,
            unit="seconds",
            minimum=0.1,
            maximum=LONGEST_WEBHOOK_SECONDS,
        ),
    ] = 3.0
    max_in_flight: Annotated[
        int,
        Key(
            help="Attempts under way, within the queue's concurrency; a company gets half of them.",
            reload=Reload.LIVE,
            unit="attempts",
            minimum=2,
            maximum=1_000,
        ),
    ] = 200
    max_in_flight_per_webhook: Annotated[
        int,
        Key(
            help="The share of one webhook in max_in_flight, so that a hanging one stops nobody.",
            reload=Reload.LIVE,
            unit="attempts",
            minimum=1,
            maximum=1_000,
        ),
    ] = 10
    attempt_keep_days: Annotated[
        int,
        Key(
            help="How long the record of an attempt is kept.",
            reload=Reload.LIVE,
            unit="days",
            minimum=1,
            maximum=3_650,
        ),
    ] = 30
    delivery_keep_days: Annotated[
        int,
        Key(
            help="How long events and deliveries are kept, and can be replayed.",
            reload=Reload.LIVE,
            unit="days",
            minimum=1,
            maximum=3_650,
        ),
    ] = 90
    egress_proxy: Annotated[
        str,
        Key(
            help="URL of an HTTP proxy that all attempts go through; it looks names up itself.",
            reload=Reload.LIVE,
            check=check_http_url,
        ),
    ] = ""
