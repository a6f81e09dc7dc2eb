"""Every metric of the program, declared once; the children of hot labels are cached.

Each process writes files of its own in the directory that `PROMETHEUS_MULTIPROC_DIR`
names, which has to be set before this module is imported; a file belongs to one
incarnation of one process (`NOVAPULSE_INSTANCE`). A process that was forked after the
import says by `record_as` who it is. `scrape` merges them.
"""

import multiprocessing
import os
from functools import cache
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, values
from prometheus_client.registry import CollectorRegistry

# By incarnation, not by pid: a pid comes again, and two writers of one file lose increments.
_instance = os.environ.get("NOVAPULSE_INSTANCE", str(os.getpid()))
if multiprocessing.parent_process() is not None:
    # Computes for a consumer, under its name: two writers of one file would spoil it.
    values.ValueClass = values.MutexValue
elif "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: _instance)

registry = CollectorRegistry()
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

http_request_duration_seconds = Histogram(
    "http_request_duration_seconds",
    "Time from the request's first byte to the answer's last.",
    ("method", "route", "status_code"),
    buckets=_SECONDS,
    registry=registry,
)
http_requests_total = Counter(
    "http_requests_total",
    "Requests answered.",
    ("method", "route", "status_code"),
    registry=registry,
)
http_request_errors_total = Counter(
    "http_request_errors_total",
    "Requests answered with a status of 400 or more; error_type is the problem's code.",
    ("method", "route", "status_code", "error_type"),
    registry=registry,
)
queue_job_duration_seconds = Histogram(
    "queue_job_duration_seconds",
    "Run time of one attempt.",
    ("queue", "job_type", "status"),
    buckets=_SECONDS,
    registry=registry,
)
queue_jobs_total = Counter(
    "queue_jobs_total",
    "Attempts finished, by their outcome.",
    ("queue", "job_type", "status"),
    registry=registry,
)
queue_job_errors_total = Counter(
    "queue_job_errors_total", "Attempts that failed.", ("queue", "job_type"), registry=registry
)
queue_size = Gauge(
    "queue_size",
    "Jobs in the ledger; written by the leading scheduler.",
    ("queue", "state"),
    multiprocess_mode="livemostrecent",
    registry=registry,
)
queue_oldest_seconds = Gauge(
    "novapulse_queue_oldest_seconds",
    "How long the oldest due job has been waiting; written by the leading scheduler.",
    ("queue",),
    multiprocess_mode="livemostrecent",
    registry=registry,
)
db_query_duration_seconds = Histogram(
    "db_query_duration_seconds",
    "Round trips to MongoDB.",
    ("collection", "operation"),
    buckets=(0.001, *_SECONDS),
    registry=registry,
)
db_connection_pool_size = Gauge(
    "db_connection_pool_size",
    "Connections to MongoDB of all processes, by what they do.",
    ("state",),
    multiprocess_mode="livesum",
    registry=registry,
)
redis_command_duration_seconds = Histogram(
    "redis_command_duration_seconds",
    "Round trips to Redis.",
    ("command",),
    buckets=(0.001, *_SECONDS),
    registry=registry,
)
redis_connection_status = Gauge(
    "redis_connection_status",
    "1 while Redis answers this process, else 0; the lowest of all processes.",
    multiprocess_mode="livemin",
    registry=registry,
)
webhook_attempts_total = Counter(
    "novapulse_webhook_attempts_total",
    "Webhook attempts by the class of their answer.",
    ("class",),
    registry=registry,
)
webhook_latency_seconds = Histogram(
    "novapulse_webhook_latency_seconds",
    "Time from commit of the event to its first attempt's answer.",
    buckets=(*_SECONDS, 60, 300),
    registry=registry,
)
mails_total = Counter(
    "novapulse_mails_total",
    "Attempts at a mail, by what became of it.",
    ("outcome",),
    registry=registry,
)
webhook_in_flight = Gauge(
    "novapulse_webhook_in_flight",
    "Webhook attempts that are claimed or under way.",
    multiprocess_mode="livesum",
    registry=registry,
)
webhook_circuits_open = Gauge(
    "novapulse_webhook_circuits_open",
    "Webhooks whose circuit is open: they get a probe now and then.",
    multiprocess_mode="livemax",
    registry=registry,
)
outbox_oldest_seconds = Gauge(
    "novapulse_outbox_oldest_seconds",
    "Age of the oldest event that is not yet planned for its subscribers.",
    multiprocess_mode="livemostrecent",
    registry=registry,
)
audit_unsealed = Gauge(
    "novapulse_audit_unsealed",
    "Audit lines that are not yet in their company's hash chain; written by the leading scheduler.",
    multiprocess_mode="livemostrecent",
    registry=registry,
)
backup_age_seconds = Gauge(
    "novapulse_backup_age_seconds",
    "How long ago the last backup was made; written by the leading scheduler.",
    multiprocess_mode="livemostrecent",
    registry=registry,
)
backup_verified_age_seconds = Gauge(
    "novapulse_backup_verified_age_seconds",
    "How long ago a backup was verified or drilled; written by the leading scheduler.",
    multiprocess_mode="livemostrecent",
    registry=registry,
)
certificate_left_seconds = Gauge(
    "novapulse_certificate_left_seconds",
    "How long the certificate at server.public_url is valid yet; written by the leading scheduler.",
    multiprocess_mode="livemostrecent",
    registry=registry,
)
disk_free_bytes = Gauge(
    "novapulse_disk_free_bytes",
    "Room on the disk of the state directory.",
    multiprocess_mode="livemostrecent",
    registry=registry,
)
disk_size_bytes = Gauge(
    "novapulse_disk_size_bytes",
    "Size of the disk of the state directory.",
    multiprocess_mode="livemostrecent",
    registry=registry,
)
alerts_firing = Gauge(
    "novapulse_alerts_firing",
    "Built-in alerts that are firing; written by the leading scheduler.",
    multiprocess_mode="livemostrecent",
    registry=registry,
)
ratelimit_fail_open_total = Counter(
    "novapulse_ratelimit_fail_open_total",
    "Requests let through because Redis did not answer.",
    registry=registry,
)
build_info = Gauge(
    "novapulse_build_info",
    "Always 1; the version is the label.",
    ("version",),
    multiprocess_mode="livemostrecent",
    registry=registry,
)

# What "written by the leading scheduler" means.
_LEADERS_GAUGES = (
    queue_size,
    queue_oldest_seconds,
    outbox_oldest_seconds,
    audit_unsealed,
    backup_age_seconds,
    backup_verified_age_seconds,
    certificate_left_seconds,
    alerts_firing,
)


def withdraw_leaders_gauges() -> None:
    """Show none of what only the leading scheduler knows: another one leads now.

    Of the most recent values one of the time 0 is none (`scrape`).
    """
    for gauge in _LEADERS_GAUGES:
        children: list[Any] = list(gauge._metrics.values()) if gauge._labelnames else [gauge]
        for child in children:
            child._value.set(0.0, timestamp=0.0)


def record_as(instance: str) -> None:
    """Be the incarnation `instance` from now on: a forked process leaves its parent's files."""
    global _instance  # noqa: PLW0603 - the one thing about metrics that a fork changes
    _instance = instance
    # The first change of a value under another name opens the new files for all of them. Until
    # it has asked, a process does not say that Redis is away.
    redis_connection_status.set(1)


@cache
def db_query(collection: str, operation: str) -> Histogram:
    return db_query_duration_seconds.labels(collection, operation)


@cache
def redis_command(command: str) -> Histogram:
    return redis_command_duration_seconds.labels(command)


@cache
def http_request(method: str, route: str, status: int) -> tuple[Histogram, Counter]:
    """The two children that every request touches."""
    labels = (method, route, str(status))
    return http_request_duration_seconds.labels(*labels), http_requests_total.labels(*labels)


@cache
def job_attempt(queue: str, kind: str, status: str) -> tuple[Histogram, Counter]:
    """The two children that every attempt touches."""
    labels = (queue, kind, status)
    return queue_job_duration_seconds.labels(*labels), queue_jobs_total.labels(*labels)


@cache
def webhook_attempt(answer_class: str) -> Counter:
    return webhook_attempts_total.labels(answer_class)
