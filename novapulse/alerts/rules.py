"""The rules. `python -m novapulse.alerts` writes them as Prometheus reads them."""

from novapulse.alerts.model import (
    Either,
    Increase,
    Latest,
    LowestShare,
    Outside,
    Over,
    Quantile,
    Ratio,
    Rule,
    Series,
    Under,
    Unless,
)

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400

RULES: tuple[Rule, ...] = (
    Rule(
        name="NovaPulseDown",
        severity="critical",
        condition=Outside('up{job="novapulse"} == 0 or absent(up{job="novapulse"})'),
        hold_seconds=2 * _MINUTE,
        summary="No scrape: the appliance, or the way to it, is down",
        runbook="no-scrape",
    ),
    Rule(
        name="RequestsFail",
        severity="critical",
        condition=Over(
            Ratio(
                Increase(
                    Series("http_requests_total", (("status_code", "=~", "5.."),)), 5 * _MINUTE
                ),
                Increase(Series("http_requests_total"), 5 * _MINUTE),
            ),
            0.01,
        ),
        hold_seconds=5 * _MINUTE,
        summary="More than 1 % of the requests end with a 5xx",
        runbook="requests-fail",
    ),
    Rule(
        name="DatabaseSlow",
        severity="warning",
        condition=Over(Quantile(0.95, Series("db_query_duration_seconds"), 5 * _MINUTE), 0.5),
        hold_seconds=5 * _MINUTE,
        summary="One in twenty round trips to MongoDB takes over 500 ms",
        runbook="the-database-is-slow",
    ),
    Rule(
        name="RedisDown",
        severity="critical",
        condition=Under(Latest(Series("redis_connection_status"), "min"), 1),
        hold_seconds=15,
        summary="Redis does not answer: limits fail open, work is found later",
        runbook="redis-is-down",
    ),
    Rule(
        name="RateLimitsFailOpen",
        severity="warning",
        condition=Over(Increase(Series("novapulse_ratelimit_fail_open_total"), 5 * _MINUTE), 0),
        hold_seconds=_MINUTE,
        summary="Requests are let through unlimited, because Redis does not answer",
        runbook="redis-is-down",
    ),
    Rule(
        name="QueueBacklog",
        severity="warning",
        condition=Over(
            Latest(Series("queue_size", (("state", "=", "available"),), ("queue",))), 1_000
        ),
        hold_seconds=5 * _MINUTE,
        summary="More than 1000 jobs wait in the queue {{ $labels.queue }}",
        runbook="a-backlog",
        labels=("queue",),
    ),
    Rule(
        name="QueueStalled",
        severity="critical",
        condition=Unless(
            Over(Latest(Series("novapulse_queue_oldest_seconds", by=("queue",)), "max"), 300),
            Over(Increase(Series("queue_jobs_total", by=("queue",)), 5 * _MINUTE), 0),
        ),
        hold_seconds=_MINUTE,
        summary="Jobs are due in the queue {{ $labels.queue }}, and none is run",
        runbook="a-queue-is-not-processed",
        labels=("queue",),
    ),
    Rule(
        name="JobsFail",
        severity="warning",
        condition=Over(
            Ratio(
                Increase(Series("queue_job_errors_total", by=("queue",)), 10 * _MINUTE),
                Increase(Series("queue_jobs_total", by=("queue",)), 10 * _MINUTE),
            ),
            0.1,
        ),
        hold_seconds=5 * _MINUTE,
        summary="More than 10 % of the attempts in the queue {{ $labels.queue }} fail",
        runbook="dead-jobs",
        labels=("queue",),
    ),
    Rule(
        name="EventsWait",
        severity="warning",
        condition=Over(Latest(Series("novapulse_outbox_oldest_seconds"), "max"), 60),
        hold_seconds=_MINUTE,
        summary="Events wait to be told to webhooks and workflows",
        runbook="webhooks-do-not-arrive",
    ),
    Rule(
        name="WebhooksFail",
        severity="warning",
        condition=Over(
            Ratio(
                Increase(
                    Series("novapulse_webhook_attempts_total", (("class", "!=", "ok"),)),
                    15 * _MINUTE,
                ),
                Increase(Series("novapulse_webhook_attempts_total"), 15 * _MINUTE),
            ),
            0.5,
        ),
        hold_seconds=15 * _MINUTE,
        summary="More than half of the webhook attempts fail",
        runbook="webhooks-do-not-arrive",
    ),
    Rule(
        name="ProcessCrashes",
        severity="critical",
        condition=Either(
            Over(
                Latest(
                    Series(
                        "novapulse_process_state",
                        (("state", "=~", "quarantined|config_error"),),
                        ("process",),
                    ),
                    "max",
                ),
                0,
            ),
            Over(
                Increase(Series("novapulse_process_restarts_total", by=("process",)), 10 * _MINUTE),
                5,
            ),
        ),
        hold_seconds=0,
        summary="The process {{ $labels.process }} keeps ending",
        runbook="a-process-keeps-restarting",
        labels=("process",),
    ),
    Rule(
        name="BackupStale",
        severity="warning",
        condition=Over(Latest(Series("novapulse_backup_age_seconds"), "min"), 36 * _HOUR),
        hold_seconds=10 * _MINUTE,
        summary="There is no backup of the last 36 hours",
        runbook="backups-are-old",
    ),
    Rule(
        name="BackupUnverified",
        severity="warning",
        condition=Over(Latest(Series("novapulse_backup_verified_age_seconds"), "min"), 40 * _DAY),
        hold_seconds=10 * _MINUTE,
        summary="No backup was verified for 40 days",
        runbook="backups-are-old",
    ),
    Rule(
        name="DiskFilling",
        severity="critical",
        condition=Under(
            LowestShare(Series("novapulse_disk_free_bytes"), Series("novapulse_disk_size_bytes")),
            0.1,
        ),
        hold_seconds=5 * _MINUTE,
        summary="Less than 10 % of the disk is free; below 5 % nothing is accepted any more",
        runbook="the-disk-is-full",
    ),
    Rule(
        name="CertificateExpires",
        severity="warning",
        condition=Under(Latest(Series("novapulse_certificate_left_seconds"), "min"), 14 * _DAY),
        hold_seconds=10 * _MINUTE,
        summary="The certificate at server.public_url ends within 14 days",
        runbook="the-certificate-ends",
    ),
    Rule(
        name="ReloadFailed",
        severity="warning",
        condition=Under(Latest(Series("novapulse_config_last_reload_successful"), "min"), 1),
        hold_seconds=5 * _MINUTE,
        summary="The last reload failed: the old configuration is in force",
        runbook="after-a-change-of-the-configuration",
    ),
)

LONGEST_WINDOW_SECONDS = max(rule.condition.window_seconds for rule in RULES)
