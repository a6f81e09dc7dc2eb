"""The rules: current for Prometheus, and the same faults fire in Prometheus and in the program."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from novapulse.alerts.history import History
from novapulse.alerts.model import Outside, Series
from novapulse.alerts.prometheus import render
from novapulse.alerts.rules import RULES
from novapulse.alerts.service import Watch, alert_id, names_of
from novapulse.core.telemetry.scrape import Labels, Sample
from tests.unit.test_docs import anchors

ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "packaging" / "monitoring"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="NOT TESTED: the rules need promtool, not here"
)


def promtool(*words: str) -> str:
    done = subprocess.run(
        ["promtool", *words],
        cwd=MONITORING,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rule_file_is_what_the_declaration_says():
    assert (MONITORING / "rules.yml").read_text() == render()


def test_every_rule_names_a_heading_of_the_runbook():
    headings = anchors(ROOT / "docs" / "operations" / "runbook.md")
    assert [rule.name for rule in RULES if rule.runbook not in headings] == []


def test_every_rule_has_a_name_of_its_own():
    assert len({rule.name for rule in RULES}) == len(RULES)


@needs_promtool
def test_prometheus_accepts_the_files_and_every_rule_fires_on_its_fault():
    assert f"{len(RULES)} rules found" in promtool("check", "rules", "rules.yml")
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")
    assert "is valid" in promtool("check", "config", "prometheus.yml")


class Case:
    """One test of the unit file, read by its indentation."""

    def __init__(self, text: str) -> None:
        self.series = dict(re.findall(r"- series: '(.+)'\n +values: '(.+)'", text))
        self.minutes = int(re.findall(r"eval_time: (\d+)m", text)[0])
        self.rule = re.findall(r"alertname: (\w+)", text)[0]
        self.summaries = [json.loads(one) for one in re.findall(r"summary: (.+)", text)]

    def samples(self, minute: int) -> Iterator[Sample]:
        for head, values in self.series.items():
            name, _, inside = head.partition("{")
            labels = tuple(sorted(re.findall(r'(\w+)="([^"]*)"', inside)))
            yield Sample(name, labels, numbers_of(values)[minute])


def numbers_of(text: str) -> list[float]:
    """`1 0x3` is 1 0 0 0 0, and `2+3x2` is 2 5 8."""
    found: list[float] = []
    for word in text.split():
        start, step, times = re.fullmatch(r"(\d+)(?:\+(\d+))?(?:x(\d+))?", word).groups("0")
        found += [int(start) + int(step) * number for number in range(int(times) + 1)]
    return found


CASES = [
    Case(text) for text in (MONITORING / "rules_test.yml").read_text().split("- interval:")[1:]
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_the_program_judges_as_prometheus_does(case: Case):
    rule = next(rule for rule in RULES if rule.name == case.rule)
    if isinstance(rule.condition, Outside):
        pytest.skip("only somebody else can see that")
    watch = Watch()
    firing = {}
    for minute in range(case.minutes + 1):
        firing = watch.judge(60.0 * minute, list(case.samples(minute)))
    found = [one.summary_of(group) for one, group, _ in firing.values() if one is rule]
    assert found == case.summaries
    others = {one.name for one, _, _ in firing.values()} - {rule.name}
    assert not others


def test_every_rule_has_a_fault_in_the_unit_file():
    assert {case.rule for case in CASES if case.summaries} == {rule.name for rule in RULES}


def test_an_alert_waits_for_its_time_and_ends_with_its_cause():
    watch = Watch()
    rule = next(rule for rule in RULES if rule.name == "RedisDown")
    key = alert_id(rule, ())
    assert not watch.judge(0.0, [Sample("redis_connection_status", (), 0)])
    assert not watch.judge(10.0, [Sample("redis_connection_status", (), 0)])
    assert key in watch.judge(20.0, [Sample("redis_connection_status", (), 0)])
    assert not watch.judge(30.0, [Sample("redis_connection_status", (), 1)])
    assert watch.is_over(key)
    assert not watch.judge(40.0, [Sample("redis_connection_status", (), 0)])


def test_a_new_leader_does_not_end_an_alert_that_it_can_not_judge_yet():
    watch = Watch()
    watch.judge(0.0, [Sample("http_requests_total", (("status_code", "500"),), 7)])
    assert not watch.is_over("RequestsFail")
    assert watch.is_over("RedisDown")
    assert watch.is_over("NoSuchRule:x")


NONE: Labels = ()


def test_a_counter_that_started_anew_or_is_new_has_grown_from_zero():
    history = History({"x_total"}, seconds=300)
    history.add(0.0, [Sample("x_total", NONE, 100)])
    history.add(60.0, [Sample("x_total", NONE, 3), Sample("x_total", (("a", "b"),), 2)])
    assert history.increase(Series("x_total"), 300) == {(): 5}
    assert history.increase(Series("x_total", by=("a",)), 300) == {("",): 3, ("b",): 2}


def test_the_past_is_forgotten():
    history = History({"x_total"}, seconds=100)
    for at in range(0, 1_000, 10):
        history.add(float(at), [Sample("x_total", NONE, at)])
    assert history.span_seconds <= 110
    assert history.increase(Series("x_total"), 50) == {(): 50}


def test_the_conditions_name_metrics():
    names = names_of(RULES)
    assert {"queue_size", "db_query_duration_seconds", "novapulse_process_state"} <= names
