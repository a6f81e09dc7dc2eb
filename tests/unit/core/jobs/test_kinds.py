"""What all declared kinds have in common."""

from typing import Any

import pytest

from novapulse.core.errors import Invalid
from novapulse.core.jobs.kinds import Queue, find_kind, get_kind, hueys, job, queues_with_kinds
from novapulse.core.jobs.rows import FALLBACK, MAX_ATTEMPTS, queue_policy
from novapulse.core.settings import Settings
from novapulse.processes import features, specs


def kinds() -> list[Any]:
    assert features.JOB_MODULES
    return [kind for huey in hueys.values() for kind in huey._registry._registry.values()]


def test_the_queues_that_get_a_consumer_are_those_that_have_kinds() -> None:
    assert features.JOB_MODULES
    assert [str(queue) for queue in queues_with_kinds()] == list(specs.QUEUES)


def test_every_kind_bounds_its_attempts_and_its_time() -> None:
    settings = Settings().queues
    for kind in kinds():
        policy = kind.policy.over(queue_policy(settings.named(kind.queue))).over(FALLBACK)
        assert policy.attempts is not None, kind
        assert 1 <= policy.attempts <= MAX_ATTEMPTS, kind
        assert policy.timeout_seconds is not None, kind
        assert 0 < policy.timeout_seconds <= 86_400, kind


def test_every_kind_says_what_it_does() -> None:
    assert [kind.__name__ for kind in kinds() if not kind.__doc__] == []


def test_a_kind_is_known_by_its_bare_name_in_one_queue() -> None:
    assert get_kind("mail.send").queue is Queue.EMAIL
    assert find_kind("mail.none") is None
    with pytest.raises(Invalid, match=r"mail\.none"):
        get_kind("mail.none")


def test_a_policy_that_nobody_knows_is_refused() -> None:
    async def work(ctx: Any) -> None: ...

    with pytest.raises(TypeError):
        job("test.typo", queue=Queue.EMAIL, atempts=3)(work)
    assert find_kind("test.typo") is None


def test_the_queues_have_the_policies_that_are_documented() -> None:
    settings = Settings().queues
    table = {
        queue: (one.attempts, one.backoff, one.backoff_seconds, one.processes, one.concurrency)
        for queue in Queue
        if (one := settings.named(queue))
    }
    assert table[Queue.EMAIL] == (5, "exponential", 2.0, 1, 5)
    assert table[Queue.WORKFLOW] == (3, "exponential", 2.0, 1, 3)
    assert table[Queue.REPORT] == (2, "fixed", 5.0, 1, 2)
    assert table[Queue.WEBHOOK][-1] == 200
