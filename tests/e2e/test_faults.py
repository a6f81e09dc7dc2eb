"""Faults made in a running appliance: from its own scrape, each fires its alert in both judges.

Those of the machine around it are in `test_machine_faults.py`, and a whole one that is gone in
`test_alerting.py`.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from novapulse.backup.store import BACKUPS, Deed
from tests.support.appliance import Appliance, Client, appliance_in_temporary_root
from tests.support.judging import Numbers, Watched, firing, played
from tests.support.pace import PacedLoad
from tests.support.receiver import WebhookReceiver, webhook_receiver
from tests.support.stores import (
    RunningStores,
    require_stores,
    running_stores,
    temporary_layout,
)

pytestmark = [pytest.mark.slow, pytest.mark.chaos]
WAITING = 1_001
CONFIG = """\
[webhooks]
allow_networks = ["127.0.0.0/8"]

[rate_limits]
general = "1000000/minute"

[supervisor]
quarantine_exits = 2
"""


class Scene(Watched):
    def __init__(
        self, appliance: Appliance, stores: RunningStores, receiver: WebhookReceiver
    ) -> None:
        super().__init__(appliance)
        self.stores = stores
        self.receiver = receiver
        self.client: Client = appliance.found_company()
        self.healthy: Numbers = self.wait_for("queue_size")


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
            yield Scene(appliance, stores, receiver)


def test_a_healthy_appliance_fires_nothing(scene: Scene, tmp_path: Path):
    scene.check(scene.healthy, set(), tmp_path)
    assert firing(played(scene.healthy, scene.scrape())) == set()


def test_who_leads_no_more_tells_no_numbers_of_the_leader(scene: Scene):
    """Old ones would fire here for as long as the other one leads: another appliance, say."""
    told = {"queue_size", "novapulse_queue_oldest_seconds", "novapulse_outbox_oldest_seconds"}
    assert told <= names(scene)
    lease = {"_id": "scheduler"}
    with MongoClient[dict[str, Any]](scene.stores.mongo_uri) as client:
        leases = client["faults"]["leases"]
        later = {"$add": ["$$NOW", 600_000]}
        leases.update_one(lease, [{"$set": {"owner": "other/scheduler-1", "until": later}}])
        scene.appliance.wait_for(lambda: not told & names(scene), seconds=15)
        assert "http_requests_total" in names(scene)
        leases.update_one(lease, [{"$set": {"until": "$$NOW"}}])
    scene.appliance.wait_for(lambda: told <= names(scene), seconds=20)


def names(scene: Scene) -> set[str]:
    return {name for name, _ in scene.scrape()}


def test_a_receiver_that_fails_fires(scene: Scene, tmp_path: Path):
    before = scene.scrape()
    scene.receiver.answer_next(*[500] * 5)
    webhook = scene.client.subscribe(scene.receiver.url, "task.created", retries=0)
    for number in range(5):
        scene.client.create_task(f"number {number}")
    scene.wait_for("novapulse_webhook_attempts_total", above=4)
    scene.client.call("DELETE", f"/webhooks/{webhook['id']}").must(204)
    scene.check(before, {"WebhooksFail", "JobsFail"}, tmp_path)


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
    scene.check(before, {"QueueBacklog", "QueueStalled"}, tmp_path)
    with MongoClient[dict[str, Any]](scene.stores.mongo_uri) as client:
        client["faults"]["jobs"].delete_many({"queue": "report"})


def test_a_configuration_that_is_not_taken_over_fires(scene: Scene, tmp_path: Path):
    before = scene.scrape()
    file = scene.appliance.root / "config.toml"
    good = file.read_text()
    file.write_text(f"{good}\n[no_such_section]\nx = 1\n")
    assert scene.appliance.cli("reload").returncode == 78
    scene.wait_for("novapulse_config_last_reload_successful", below=1)
    scene.check(before, {"ReloadFailed"}, tmp_path)
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
    scene.check(before, {"BackupStale", "BackupUnverified"}, tmp_path)


def test_a_database_that_hangs_fires(scene: Scene, tmp_path: Path):
    before = scene.scrape()
    wanted = {"RequestsFail", "DatabaseSlow"}
    with PacedLoad(
        scene.appliance.address, scene.client.headers, per_second=60, again=False
    ) as load:
        scene.stores.mongod.pause()
        # The quick round trips from before the hang count too: it lasts until they are few enough.
        scene.appliance.wait_for(
            lambda: wanted <= firing(played(before, scene.scrape())), seconds=60
        )
        scene.check(before, wanted, tmp_path)
        scene.stores.mongod.resume()
        load.wait_for(lambda: load.asked[-1].status < 300, seconds=20)


def test_events_that_are_not_told_fire(scene: Scene, tmp_path: Path):
    """Somebody's shell holds a lock on one of them in a transaction that it does not end."""
    before = scene.scrape()
    scheduler = scene.appliance.process("scheduler")["pid"]
    with MongoClient[dict[str, Any]](scene.stores.mongo_uri) as client:
        events = client["faults"]["events"]
        os.kill(scheduler, signal.SIGSTOP)
        try:
            task = scene.client.create_task("not told yet")
            where = {"data.task.id": task["id"], "isPlanned": False}
            (event,) = events.find(where)
            long_ago = {"$subtract": ["$$NOW", 600_000]}
            events.update_one({"_id": event["_id"]}, [{"$set": {"createdAt": long_ago}}])
            session = client.start_session()
            session.start_transaction()
            events.update_one({"_id": event["_id"]}, {"$set": {"held": 1}}, session=session)
        finally:
            os.kill(scheduler, signal.SIGCONT)
        scene.wait_for("novapulse_outbox_oldest_seconds", above=60)
        scene.check(before, {"EventsWait"}, tmp_path)
        session.abort_transaction()
        session.end_session()
    after = scene.wait_for("novapulse_outbox_oldest_seconds", below=1)
    assert "EventsWait" not in firing(played(before, after))


def test_a_process_that_keeps_ending_fires(scene: Scene, tmp_path: Path):
    before = scene.scrape()

    def is_quarantined() -> bool:
        """Else it is killed again."""
        row = scene.appliance.process("report-1")
        if row["pid"] and row["state"] != "quarantined":
            os.kill(row["pid"], signal.SIGKILL)
        return bool(row["state"] == "quarantined")

    scene.appliance.wait_for(is_quarantined, seconds=40)
    state = "novapulse_process_state"
    scene.wait_for(state, above=0, process="report-1", state="quarantined")
    scene.check(before, {"ProcessCrashes"}, tmp_path)
    assert scene.appliance.cli("restart", "report-1").returncode == 0
    after = scene.wait_for(state, above=0, process="report-1", state="ready")
    assert "ProcessCrashes" not in firing(played(after, after))


def test_a_dead_redis_fires(scene: Scene, tmp_path: Path):
    """Last: Redis is not started again."""
    before = scene.scrape()
    scene.stores.redis.kill()
    for _ in range(20):
        scene.client.get("/tasks?limit=1").must(200)
    scene.wait_for("redis_connection_status", below=1)
    scene.check(before, {"RedisDown", "RateLimitsFailOpen"}, tmp_path)
