"""What an answer means, and when to try again; pure."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import random

from novapulse.core.jobs.backoff import Dice, Ladder
from novapulse.deliveries.model import AnswerClass

# 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, and 24 h from there on.
SCHEDULE = Ladder(steps=(5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400))
MAX_RETRY_AFTER_SECONDS = 86_400
FINAL = (AnswerClass.GONE, AnswerClass.BLOCKED)


def classify(status: int, headers: Mapping[str, str]) -> AnswerClass:
    """The class of an answer; header names in lower case."""
    if status == 410 or headers.get("webhook-delivery", "").strip().lower() == "disable":
        return AnswerClass.GONE
    if 200 <= status < 300:
        return AnswerClass.OK
    if 300 <= status < 400:
        return AnswerClass.REDIRECT
    if status in (429, 503):
        return AnswerClass.THROTTLED
    if status == 408 or status >= 500:
        return AnswerClass.TRANSIENT
    return AnswerClass.REJECTED


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """What a `Retry-After` header asks for (seconds or a date), at most a day; None for none."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), MAX_RETRY_AFTER_SECONDS))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        seconds = math.ceil((moment - now).total_seconds())
    except OverflowError:  # a date and zone that no year holds
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)


def delay_seconds(
    failures: int,
    result: AnswerClass,
    *,
    retry_after: str | None,
    now: datetime,
    dice: Dice = random,
) -> float:
    """How long after failed attempt `failures` (1-based) the next one comes.

    Never earlier than the schedule, nor than a throttled receiver asked for.
    """
    scheduled = SCHEDULE.delay_seconds(failures, dice=dice)
    if result is not AnswerClass.THROTTLED:
        return scheduled
    return max(scheduled, retry_after_seconds(retry_after, now) or 0.0)
