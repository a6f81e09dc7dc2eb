"""Faults made in a running appliance: from its own scrape, each fires its alert in both judges.

What the rules wait for is not waited for: a scrape from before a fault and one from after it are
played on, minute by minute at the same pace, to the built-in evaluator and to Prometheus.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from novapulse.alerts.rules import RULES
from novapulse.alerts.service import Watch, names_of
from novapulse.backup.store import BACKUPS, Deed
from novapulse.core.telemetry import scrape
from novapulse.core.telemetry.scrape import Labels, Sample
from tests.support.appliance import Appliance, Client, appliance_in_temporary_root
from tests.support.pace import PacedLoad
from tests.support.receiver import WebhookReceiver, webhook_receiver
from tests.support.stores import (
    RunningStores,
    require_stores,
    running_stores,
    temporary_layout,
)

pytestmark = [pytest.mark.slow, pytest.mark.chaos]
ROOT = Path(__file__).parents[2]
MINUTES = 35  # longer than any rule's window and wait
WAITING = 1_001
CONFIG = """\
[webhooks]
allow_networks = ["127.0.0.0/8"]

[rate_limits]
general = "1000000/minute"
"""
Numbers = dict[tuple[str, Labels], float]
_COUNTED = ("_total", "_bucket", "_count", "_sum")


@dataclass
class Scene:
    stores: RunningStores
    appliance: Appliance
    client: Client
    receiver: WebhookReceiver
    healthy: Numbers = field(default_factory=dict)

    def scrape(self) -> Numbers:
        """What the rules look at, of a scrape that needs no API process."""
        names = names_of(RULES)
        found = scrape.samples(self.appliance.root / "run" / "metrics")
        ours = (one for one in found if one.name.removesuffix("_bucket") in names)
        return {(one.name, one.labels): one.value for one in ours}

    def wait_for(self, name: str, *, above: float = -1.0, below: float = 1e18) -> Numbers:
        """The scrape in which one of these samples is within the limits."""

        def is_there() -> bool:
            values = [value for (known, _), value in self.scrape().items() if known == name]
            return any(above < value < below for value in values)

        self.appliance.wait_for(is_there, seconds=30)
        return self.scrape()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    require_stores()
    with temporary_layout() as layout, running_stores(layout) as stores:
        places = (
            f'[mongo]\nuri = "{stores.mongo_uri}"\ndatabase = "faults"\n\n'
            f'[redis]\nurl = "{stores.redis_url}"\n\n'
        )
        with (
            appliance_in_temporary_root(places + CONFIG) as appliance,
            webhook_receiver() as receiver,
        ):
            appliance.start()
            one = Scene(stores, appliance, appliance.found_company(), receiver)
            one.healthy = one.wait_for("queue_size")
            yield one


def played(before: Numbers, after: Numbers) -> dict[tuple[str, Labels], list[float]]:
    """Counters go on growing by what they grew; of a gauge the last value stays."""
    found = {}
    for key, value in after.items():
        former = before.get(key, 0.0)
        step = value - former if key[0].endswith(_COUNTED) else 0.0
        first = former if step or key[0].endswith(_COUNTED) else value
        found[key] = [first + step * minute for minute in range(MINUTES + 1)]
    return found


def firing(series: dict[tuple[str, Labels], list[float]]) -> set[str]:
    """What the built-in evaluator says at the end of it."""
    watch, found = Watch(), set[str]()
    for minute in range(MINUTES + 1):
        rows = [Sample(name, labels, row[minute]) for (name, labels), row in series.items()]
        found = {rule.name for rule, _, _ in watch.judge(60.0 * minute, rows).values()}
    return found


def check_prometheus(
    series: dict[tuple[str, Labels], list[float]], fired: set[str], directory: Path
) -> None:
    """`promtool` runs the rule file over the same numbers, and has the same alerts."""
    if shutil.which("promtool") is None:
        pytest.skip("NOT TESTED: the same in Prometheus needs promtool, not here")
    rows = [
        {"series": _selector(*key), "values": " ".join(f"{value:.9g}" for value in row)}
        for key, row in series.items()
    ]
    rows.append({"series": 'up{job="novapulse"}', "values": f"1x{MINUTES}"})
    expression = 'count by (alertname) (ALERTS{alertstate="firing"}) > bool 0'
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(fired)]
    test = {
        "interval": "1m",
        "input_series": rows,
        "promql_expr_test": [
            {"expr": expression, "eval_time": f"{MINUTES}m", "exp_samples": samples}
        ],
    }
    rules = ROOT / "packaging" / "monitoring" / "rules.yml"
    whole = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}
    file = directory / "live.yml"
    file.write_text(json.dumps(whole))  # JSON is YAML
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def _selector(name: str, labels: Labels) -> str:
    pairs = ",".join(f"{label}={json.dumps(value)}" for label, value in labels)
    return f"{name}{{{pairs}}}"


def check(scene: Scene, before: Numbers, wanted: set[str], directory: Path) -> None:
    series = played(before, scene.scrape())
    fired = firing(series)
    assert wanted <= fired
    check_prometheus(series, fired, directory)


def test_a_healthy_appliance_fires_nothing(scene: Scene, tmp_path: Path):
    check(scene, scene.healthy, set(), tmp_path)
    assert firing(played(scene.healthy, scene.scrape())) == set()


def test_a_receiver_that_fails_fires(scene: Scene, tmp_path: Path):
    before = scene.scrape()
    scene.receiver.answer_next(*[500] * 5)
    webhook = scene.client.subscribe(scene.receiver.url, "task.created", retries=0)
    for number in range(5):
        scene.client.create_task(f"number {number}")
    scene.wait_for("novapulse_webhook_attempts_total", above=4)
    scene.client.call("DELETE", f"/webhooks/{webhook['id']}").must(204)
    check(scene, before, {"WebhooksFail", "JobsFail"}, tmp_path)


def test_jobs_that_nobody_runs_fire(scene: Scene, tmp_path: Path):
    before = scene.scrape()
    assert scene.appliance.cli("queue", "pause", "report").returncode == 0
    with MongoClient[dict[str, Any]](scene.stores.mongo_uri) as client:
        jobs = client["faults"]["jobs"]
        model = jobs.find_one({"queue": "webhook"})
        assert model is not None
        clock = [{"$set": {"dueAt": {"$subtract": ["$$NOW", 3_600_000]}}}]
        late = {**model, "queue": "report", "state": "available"}
        late = {name: value for name, value in late.items() if name not in ("lane", "expiresAt")}
        jobs.insert_many([{**late, "_id": f"{model['_id']}{n}"} for n in range(WAITING)])
        jobs.update_many({"queue": "report"}, clock)
    scene.wait_for("queue_size", above=WAITING - 1)
    scene.wait_for("novapulse_queue_oldest_seconds", above=300)
    check(scene, before, {"QueueBacklog", "QueueStalled"}, tmp_path)
    with MongoClient[dict[str, Any]](scene.stores.mongo_uri) as client:
        client["faults"]["jobs"].delete_many({"queue": "report"})


def test_a_configuration_that_is_not_taken_over_fires(scene: Scene, tmp_path: Path):
    before = scene.scrape()
    file = scene.appliance.root / "config.toml"
    good = file.read_text()
    file.write_text(f"{good}\n[no_such_section]\nx = 1\n")
    assert scene.appliance.cli("reload").returncode == 78
    scene.wait_for("novapulse_config_last_reload_successful", below=1)
    check(scene, before, {"ReloadFailed"}, tmp_path)
    file.write_text(good)
    assert scene.appliance.cli("reload").returncode == 0
    scene.wait_for("novapulse_config_last_reload_successful", above=0)


def test_backups_that_are_old_fire(scene: Scene, tmp_path: Path):
    before = scene.scrape()
    with MongoClient[dict[str, Any]](scene.stores.mongo_uri) as client:
        long_ago = {"$dateSubtract": {"startDate": "$$NOW", "unit": "day", "amount": 50}}
        for deed in (Deed.CREATED, Deed.VERIFIED, Deed.DRILLED):
            change = [{"$set": {"at": long_ago}}]
            client["faults"][BACKUPS].update_one({"_id": str(deed)}, change, upsert=True)
    scene.wait_for("novapulse_backup_age_seconds", above=86_400)
    check(scene, before, {"BackupStale", "BackupUnverified"}, tmp_path)


def test_a_database_that_hangs_fires(scene: Scene, tmp_path: Path):
    before = scene.scrape()
    with PacedLoad(
        scene.appliance.address, scene.client.headers, per_second=60, again=False
    ) as load:
        scene.stores.mongod.pause()
        load.wait_for(lambda: sum(one.status == 503 for one in load.asked) > 60, seconds=20)
        scene.stores.mongod.resume()
        load.wait_for(lambda: load.asked[-1].status < 300, seconds=20)
    check(scene, before, {"RequestsFail", "DatabaseSlow"}, tmp_path)


def test_a_dead_redis_fires(scene: Scene, tmp_path: Path):
    """Last: Redis is not started again."""
    before = scene.scrape()
    scene.stores.redis.kill()
    for _ in range(20):
        scene.client.get("/tasks?limit=1").must(200)
    scene.wait_for("redis_connection_status", below=1)
    check(scene, before, {"RedisDown", "RateLimitsFailOpen"}, tmp_path)
