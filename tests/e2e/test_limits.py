"""Rate limits over all API processes, with Redis and while it hangs."""

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.appliance import Answer, Appliance, Client, appliance_in_temporary_root

pytestmark = pytest.mark.slow
ALLOWED, ASKED = 50, 200
CONFIG = f"""\
[server]
processes = 4

[rate_limits]
general = "{ALLOWED}/minute"
"""
SLOWEST_SECONDS = 0.6


def ask(client: Client, times: int, *, at_once: int) -> list[tuple[Answer, float]]:
    """`times` answers, `at_once` of them in flight, each with its seconds."""

    def one(_: int) -> tuple[Answer, float]:
        started = time.monotonic()
        answer = client.get("/tasks?limit=1")
        return answer, time.monotonic() - started

    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(one, range(times)))


def failed_open(client: Client) -> float:
    """How many requests passed because Redis did not answer, as all processes count it."""
    lines = client.get("/metrics").body.decode().splitlines()
    name = "novapulse_ratelimit_fail_open_total "
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


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
    before = failed_open(client)
    os.kill(pid, signal.SIGSTOP)
    try:
        answers = ask(client, ASKED, at_once=4)
        wrong = {"email": "nobody@example.com", "password": "not the password"}
        logins = [client.post("/auth/login", wrong).status for _ in range(30)]
        after = failed_open(client)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert {answer.status for answer, _ in answers} == {200}
    # A busy machine may hold up one or two of them on its own.
    assert sorted(seconds for _, seconds in answers)[-3] <= SLOWEST_SECONDS
    assert after - before >= ASKED
    assert set(logins) == {401, 429}, "signing in stays limited, by each process"
