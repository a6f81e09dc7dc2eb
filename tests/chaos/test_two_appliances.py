"""Past one machine: two appliances behind proxies over one replica set of three and one Redis.

The short form runs with every test run; `make chaos` makes it long. The tests are in the order
of how much they break: the last one loses an appliance.
"""

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.appliance import Appliance, Client, note
from tests.support.load import KeepAliveLoad, WrkLoad
from tests.support.pace import PacedLoad
from tests.support.pair import (
    DATABASE,
    Front,
    Pair,
    pair_of_appliances,
    running_haproxy,
    running_nginx,
)
from tests.support.receiver import WebhookReceiver, webhook_receiver
from tests.support.replicas import shared_stores
from tests.support.stores import require_stores

FAILOVERS = int(os.environ.get("CHAOS_FAILOVERS", "2"))
IS_LONG = FAILOVERS > 2
BETWEEN_KILLS_SECONDS = 15.0 if IS_LONG else 1.0
PER_SECOND = 60.0 if IS_LONG else 30.0
HANDOVER_SECONDS = 15.0
LOGINS = 20
# The lease of a delivery that a lost machine held, and what follows it.
LAPSE_SECONDS = 60.0
CONFIG = f"""\
[server]
processes = 1
trusted_proxies = ["127.0.0.1"]

[webhooks]
allow_networks = ["127.0.0.0/8"]

[rate_limits]
general = "1000000/minute"
login = "{LOGINS}/minute"
"""

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Scene:
    pair: Pair
    client: Client
    receiver: WebhookReceiver
    haproxy: Front | None

    def load(self, label: str, *, again: bool = True, front: Front | None = None) -> PacedLoad:
        return PacedLoad(
            (front or self.pair.front).address,
            self.client.headers,
            per_second=PER_SECOND,
            again=again,
            label=label,
        )

    def arrivals(self) -> Counter[str]:
        """Task id to how often its event came."""
        return Counter(one.event["data"]["task"]["id"] for one in self.receiver.requests)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    require_stores()
    directory: Path = tmp_path_factory.mktemp("nginx")
    with shared_stores() as stores, pair_of_appliances(stores, CONFIG) as pair:
        client = pair.start()
        with (
            webhook_receiver() as receiver,
            running_nginx(pair, directory),
            running_haproxy(pair, directory) as haproxy,
        ):
            client.subscribe(receiver.url, "task.created", retries=20)
            yield Scene(pair, client, receiver, haproxy)


@pytest.fixture(autouse=True)
def _both_run(scene: Scene) -> Iterator[None]:
    """Whatever a test stopped, or left stopped by failing, runs again for the next one."""
    yield
    for one in scene.pair.both:
        if one.main is not None and one.main.poll() is not None:
            scene.pair.start_again(one)


def attempts(appliance: Appliance) -> float:
    """Webhook attempts that this appliance's own consumers made."""
    lines = Client(appliance).get("/metrics").body.decode().splitlines()
    mine = [line for line in lines if line.startswith("novapulse_webhook_attempts_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in mine)


def stored_titles(pair: Pair, label: str) -> dict[str, str]:
    """Task id to title, of one load, asked past the program."""
    with pair.database() as client:
        where = {"title": {"$regex": f"^{label} "}}
        rows = client[DATABASE]["tasks"].find(where, {"title": 1})
        return {str(row["_id"]): str(row["title"]) for row in rows}


def check_books(scene: Scene, load: PacedLoad, label: str) -> None:
    """What was accepted is stored, and nothing was made twice under one key."""
    kept = stored_titles(scene.pair, label)
    accepted = {load.accepted[number]: f"{label} {number}" for number in load.accepted}
    assert accepted.items() <= kept.items()
    twice = {title: number for title, number in Counter(kept.values()).items() if number > 1}
    assert twice == {}


def test_limits_are_counted_once_for_both(scene: Scene):
    attempt = {"email": "nobody@acme.example", "password": "not the right one at all"}

    def sign_in(_: int) -> tuple[int, str]:
        answer = Client(scene.pair.front).post("/auth/login", attempt)
        return answer.status, answer.headers["x-upstream"]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(sign_in, range(2 * LOGINS)))
    statuses = Counter(status for status, _ in answers)
    note(f"{statuses} by {Counter(upstream for _, upstream in answers)}")
    assert statuses == {401: LOGINS, 429: LOGINS}
    assert {upstream for _, upstream in answers} == {one.address for one in scene.pair.both}


def front_of(scene: Scene, proxy: str) -> Front:
    front = scene.haproxy if proxy == "haproxy" else scene.pair.front
    if front is None:
        pytest.skip("NOT TESTED: two appliances behind HAProxy, which is not installed here")
    return front


@pytest.mark.parametrize("proxy", ["nginx", "haproxy"])
def test_one_drains_out_under_wrk(scene: Scene, proxy: str):
    """As many reads as it can do; more would only starve the others on this machine."""
    if shutil.which("wrk") is None:
        pytest.skip("NOT TESTED: a drain under wrk, which is not installed here")
    pair, front = scene.pair, front_of(scene, proxy)
    url = f"{front.url}/api/v1/tasks?limit=5"
    with WrkLoad(url, headers=scene.client.headers, connections=16) as wrk:
        time.sleep(2)
        assert pair.two.cli("drain").returncode == 0
        time.sleep(2)
        assert pair.two.stop() == 0
        time.sleep(2)
    note(f"{proxy}: wrk got {wrk.answers} answers, {wrk.faults}")
    assert wrk.answers > 200, wrk.said
    assert wrk.faults == []


@pytest.mark.parametrize("proxy", ["nginx", "haproxy"])
def test_work_is_shared_and_one_drains_out_without_a_failed_request(scene: Scene, proxy: str):
    pair, label = scene.pair, f"drain-{proxy}"
    path, headers, front = "/api/v1/tasks?limit=5", scene.client.headers, front_of(scene, proxy)
    with (
        KeepAliveLoad(
            front.address, path, headers=headers, connections=16, rest_seconds=0.05
        ) as reads,
        scene.load(label, front=front) as load,
    ):
        reads.wait_for_more(200)
        load.wait_for(lambda: len(load.accepted) > PER_SECOND, seconds=30)
        load.wait_for(lambda: all(attempts(one) for one in pair.both), seconds=30)
        assert pair.two.cli("drain").returncode == 0
        reads.wait_for_more(100)
        assert pair.two.stop() == 0
        reads.wait_for_more(100)
        done = len(load.accepted)
        load.wait_for(lambda: len(load.accepted) > done + PER_SECOND / 3, seconds=30)
    accepted = set(load.accepted.values())
    scene.receiver.wait_for(lambda _: accepted <= scene.arrivals().keys(), seconds=30)
    note(f"{proxy}: reads: {reads.summary()}; {load.summary()}")
    assert reads.faults == []
    assert set(reads.statuses) == {200}
    assert {one.status for one in load.asked} <= {200, 201}
    arrived = scene.arrivals()
    assert Counter({one: arrived[one] for one in accepted}) == Counter(accepted), "once each"
    check_books(scene, load, label)


def test_nothing_acknowledged_is_lost_with_the_primary(scene: Scene):
    replicas, label = scene.pair.stores.replicas, "failover"
    pauses = []
    with scene.load(label) as load:
        for _ in range(FAILOVERS):
            load.wait_for(lambda: recovered(load), seconds=60)
            began = time.monotonic()
            primary = replicas.primary()
            primary.store.kill()
            try:
                load.wait_for(lambda began=began: bool(load.since(began + 0.5)), seconds=30)
                load.wait_for(lambda: recovered(load), seconds=60)
            finally:
                primary.store.start()  # the tests after this one want it whole
            refused = [one for one in load.since(began) if one.status >= 400]
            # None at all when all were held until there was another one.
            pauses.append(max((one.at + one.seconds - began for one in refused), default=0.0))
            replicas.wait_until_whole()
            time.sleep(max(0.0, began + BETWEEN_KILLS_SECONDS - time.monotonic()))
    accepted = set(load.accepted.values())
    scene.receiver.wait_for(lambda _: accepted <= scene.arrivals().keys(), seconds=LAPSE_SECONDS)
    arrived = scene.arrivals()
    note(
        f"{FAILOVERS} primaries killed: {load.summary()}; refused until "
        f"{', '.join(f'{pause:.1f}' for pause in pauses)} s after; {len(accepted)} accepted, "
        f"{sum(arrived[one] - 1 for one in accepted)} delivered again"
    )
    assert {one.status for one in load.asked} <= {200, 201, 503}
    check_books(scene, load, label)


def recovered(load: PacedLoad) -> bool:
    """The last second's requests were all done."""
    rows = load.since(time.monotonic() - 1.0)
    return len(rows) > PER_SECOND / 2 and all(one.status in (200, 201) for one in rows)


def profile(pair: Pair, level: int) -> None:
    for member in pair.stores.replicas.members:
        with member.client() as client:
            client[DATABASE].command("profile", level)


def test_reports_are_read_from_a_secondary(scene: Scene):
    replicas = scene.pair.stores.replicas
    replicas.wait_until_whole()
    profile(scene.pair, 2)
    try:
        asked = scene.client.post("/reports", {"kind": "task_list", "format": "ndjson"}).must(202)
        deadline = time.monotonic() + 30
        while (report := read_report(scene, asked["id"]))["status"] != "ready":
            assert report["status"] in ("waiting", "running", "queued"), report
            assert time.monotonic() < deadline, report
            time.sleep(0.1)
    finally:
        profile(scene.pair, 0)
    reads = {member.address: bulk_reads(member) for member in replicas.members}
    primary = replicas.primary().address
    note(f"reads of tasks by member: {reads}; the primary is {primary}")
    assert reads.pop(primary) == 0
    assert sum(reads.values()) > 0


def read_report(scene: Scene, report_id: str) -> dict[str, Any]:
    found: dict[str, Any] = scene.client.get(f"/reports/{report_id}").must(200)
    return found


def bulk_reads(member: Any) -> int:
    """Reads of the tasks by the program, as the member noted them."""
    with member.client() as client:
        where = {"ns": f"{DATABASE}.tasks", "op": {"$in": ["query", "command", "getmore"]}}
        return int(client[DATABASE]["system.profile"].count_documents(where))


def test_the_other_one_leads_after_a_power_cut(scene: Scene):
    pair, label = scene.pair, "cut"
    leading = next(one for one in pair.both if pair.leads(one))
    other = next(one for one in pair.both if one is not leading)
    if IS_LONG:
        with scene.load(label) as load:
            load.wait_for(lambda: len(load.accepted) > PER_SECOND, seconds=30)
            took = cut(pair, leading, other)
            done = len(load.accepted)
            load.wait_for(lambda: len(load.accepted) > done + PER_SECOND / 3, seconds=30)
    else:
        took = cut(pair, leading, other)
        with scene.load(label) as load:
            load.wait_for(lambda: len(load.accepted) > PER_SECOND / 3, seconds=30)
    accepted = set(load.accepted.values())
    scene.receiver.wait_for(lambda _: accepted <= scene.arrivals().keys(), seconds=LAPSE_SECONDS)
    note(f"the other one leads {took:.1f} s after kill -9; {load.summary()}")
    check_books(scene, load, label)
    arrived = scene.arrivals()
    assert max(arrived[one] for one in accepted) <= 2


def cut(pair: Pair, leading: Appliance, other: Appliance) -> float:
    """Kill an appliance; how long until the other one leads.

    In the long form every process at once, so that nobody can give up the lease.
    """
    began = time.monotonic()
    for pid in [leading.pid, *(leading.live_pids() if IS_LONG else ())]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    leading.wait()
    other.wait_for(lambda: pair.leads(other), seconds=HANDOVER_SECONDS)
    return time.monotonic() - began
