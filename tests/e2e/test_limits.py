"""Rate limits over all API processes, with Redis and while it hangs."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.support.appliance import Answer, Appliance, Client, appliance_in_temporary_root, note

pytestmark = pytest.mark.slow
ALLOWED, ASKED = 50, 200
PROCESSES, AT_ONCE = 4, 4
CONFIG = f"""\
[server]
processes = {PROCESSES}

[rate_limits]
general = "{ALLOWED}/minute"
"""
SLOWEST_SECONDS = 0.6
# Of each process, while Redis does not answer.
FAILURES_TO_OPEN, OPEN_SECONDS = 3, 2.0


def ask(client: Client, times: int, *, at_once: int) -> list[tuple[Answer, float]]:
    """`times` answers, `at_once` of them in flight, each with its seconds."""

    def one(_: int) -> tuple[Answer, float]:
        started = time.monotonic()
        answer = client.get("/tasks?limit=1")
        return answer, time.monotonic() - started

    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(one, range(times)))


def counted(client: Client, name: str) -> float:
    """A counter, as all processes count it."""
    lines = client.get("/metrics").body.decode().splitlines()
    name += " "
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def failed_open(client: Client) -> float:
    """How many requests passed because Redis did not answer."""
    return counted(client, "novapulse_ratelimit_fail_open_total")


def asked_redis(client: Client) -> float:
    """How many requests did not find the way to Redis shut."""
    return counted(client, 'redis_command_duration_seconds_count{command="evalsha"}')


@contextmanager
def held_up_by_the_machine(client: Client) -> Iterator[list[float]]:
    """The seconds of requests that never ask Redis, one after the other in the same moments."""
    seconds: list[float] = []
    is_over = threading.Event()

    def ask_on() -> None:
        while not is_over.is_set():
            started = time.monotonic()
            client.get("/health/live").must(200)
            seconds.append(time.monotonic() - started)

    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(ask_on)
        try:
            yield seconds
        finally:
            is_over.set()
        asking.result()


def test_four_processes_let_exactly_the_limit_pass_and_stay_up_without_redis():
    with appliance_in_temporary_root(CONFIG) as appliance:
        appliance.start()
        client = appliance.found_company()
        shares_the_limit(client)
        works_on_without_redis(appliance, client)


def shares_the_limit(client: Client) -> None:
    answers = [answer for answer, _ in ask(client, ASKED, at_once=40)]
    assert Counter(answer.status for answer in answers) == {200: ALLOWED, 429: ASKED - ALLOWED}
    refused = next(answer for answer in answers if answer.status == 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert {"ratelimit", "ratelimit-policy"} <= refused.headers.keys()


def works_on_without_redis(appliance: Appliance, client: Client) -> None:
    pid = appliance.process("redis")["pid"]
    before, tries_before = failed_open(client), asked_redis(client)
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with held_up_by_the_machine(client) as others:
            answers = ask(client, ASKED, at_once=AT_ONCE)
        lasted = time.monotonic() - began
        tries = asked_redis(client) - tries_before
        wrong = {"email": "nobody@example.com", "password": "not the password"}
        logins = [client.post("/auth/login", wrong).status for _ in range(30)]
        after = failed_open(client)
    finally:
        os.kill(pid, signal.SIGCONT)
    slowest = sorted(seconds for _, seconds in answers)
    note(
        f"without Redis: {ASKED} answers in {lasted:.1f} s, slowest {slowest[-3:]}, "
        f"of {len(others)} that need none {max(others):.3f} s; {tries:g} asked it"
    )
    assert {answer.status for answer, _ in answers} == {200}
    # Whatever a busy machine adds, it adds to those that ask Redis nothing as well.
    assert slowest[-3] <= SLOWEST_SECONDS + max(others)
    # Three failures shut the way to it, then who comes every two seconds tries again.
    rounds = FAILURES_TO_OPEN + lasted / OPEN_SECONDS + 1
    assert 0 < tries <= PROCESSES * AT_ONCE * rounds
    assert after - before >= ASKED
    assert set(logins) == {401, 429}, "signing in stays limited, by each process"
