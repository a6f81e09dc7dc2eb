"""One appliance, watched from outside: metrics, traces, logs and dashboards, through its faults."""

import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.appliance import (
    OPEN_CONFIG,
    Answer,
    Appliance,
    Client,
    appliance_in_temporary_root,
    note,
)
from tests.support.certificates import tls_server
from tests.support.monitoring import DASHBOARDS, metrics_in
from tests.support.otlp import Collector, Span, collector
from tests.support.receiver import WebhookReceiver, webhook_receiver
from tests.support.replicas import free_port

pytestmark = pytest.mark.slow
Numbers = dict[tuple[str, ...], float]


@dataclass
class Scene:
    appliance: Appliance
    admin: Client
    receiver: WebhookReceiver
    collector: Collector
    canaries: list[str] = field(default_factory=list)

    def scrape(self) -> Numbers:
        return numbers(Client(self.appliance).get("/metrics").body.decode())

    def wait_for(self, key: tuple[str, ...], value: float, *, seconds: float = 15) -> Numbers:
        """The scrape in which a sample has at least this value."""
        deadline = time.monotonic() + seconds
        while (found := self.scrape()).get(key, 0.0) < value:
            assert time.monotonic() < deadline, f"{key} is {found.get(key)}, not {value}"
            time.sleep(0.1)
        return found


def numbers(text: str) -> Numbers:
    """Name and label values, in the order of the labels' names, to value."""
    return {
        (one.name, *(value for _, value in sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    # Limits that are counted and never reached: otherwise nothing would be kept in Redis.
    names = ("general", "login", "register", "invites")
    limits = "\n".join(f'{name} = "100000/minute"' for name in names)
    counted = OPEN_CONFIG.replace("enabled = false", limits)
    directory = tmp_path_factory.mktemp("tls")
    with (
        collector() as sink,
        webhook_receiver() as receiver,
        tls_server(directory, days=60) as server,  # somebody ends TLS at the public URL
    ):
        own = f"127.0.0.1:{free_port()}"
        config = (
            f'[server]\npublic_url = "{server.url}"\n\n'
            f'{counted}\n[tracing]\nendpoint = "{sink.url}"\n'
        )
        with appliance_in_temporary_root(config) as one:
            one.start("--listen", own)
            one.url = f"http://{own}"  # it says its public one
            yield Scene(one, one.found_company(), receiver, sink)


def attempts(spans: list[Span], trace: str) -> list[Span]:
    return [one for one in spans if one.trace == trace and one.name == "webhook attempt"]


def test_one_trace_reaches_from_the_request_to_the_second_attempt(scene: Scene):
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    scene.receiver.answer_next(500)
    webhook = scene.admin.subscribe(f"{scene.receiver.url}/traced", "task.created")
    headers = {"traceparent": f"00-{trace}-{parent}-01", "X-Request-Id": "a-traced-request"}
    answer = scene.admin.call("POST", "/tasks", body={"title": "x"}, headers=headers)
    assert answer.status == 201
    spans = scene.collector.wait_for(lambda got: len(attempts(got, trace)) >= 2, seconds=25)
    scene.collector.wait_for(
        lambda got: any(one.name == "POST /api/v1/tasks" and one.trace == trace for one in got),
        seconds=10,
    )
    spans = [one for one in scene.collector.spans if one.trace == trace]
    names = {one.name for one in spans}
    assert {"transaction", "insert_many events", "commit transaction"} <= names
    (request,) = (one for one in spans if one.name == "POST /api/v1/tasks")
    assert request.parent == parent
    assert request.attributes["http.response.status_code"] == 201
    assert request.process.startswith("api-")
    tried = attempts(spans, trace)
    assert [one.attributes["novapulse.attempt"] for one in tried] == [1, 2]
    assert [one.attributes["novapulse.answer"] for one in tried] == ["transient", "ok"]
    assert {one.attributes["novapulse.webhook_id"] for one in tried} == {webhook["id"]}
    jobs = [one for one in spans if one.name == "job webhook.deliver"]
    assert {one.parent for one in tried} == {one.id for one in jobs}
    assert scene.collector.paths == {"/v1/traces"}
    scene.admin.call("DELETE", f"/webhooks/{webhook['id']}").must(204)
    lines = scene.appliance.cli("logs", "--request", "a-traced-request").stdout.splitlines()
    assert all(trace in line for line in lines)


def test_a_trace_goes_on_through_the_workflow_that_its_event_starts(scene: Scene):
    trace, parent = "5cf92f3577b34da6a3ce929d0e0e4737", "00f067aa0ba902b8"
    command = {
        "name": "traced",
        "trigger": {"type": "event", "event": "project.created"},
        "actions": [{"type": "create_task", "input": {"title": "traced"}}],
    }
    workflow = scene.admin.post("/workflows", command).must(201)
    headers = {"traceparent": f"00-{trace}-{parent}-01"}
    answer = scene.admin.call("POST", "/projects", body={"name": "traced"}, headers=headers)
    assert answer.status == 201
    wanted = {"POST /api/v1/projects", "job workflow.run", "job workflow.step"}
    scene.collector.wait_for(
        lambda got: wanted <= {one.name for one in got if one.trace == trace}, seconds=20
    )
    spans = {one.id: one for one in scene.collector.spans if one.trace == trace}
    (start,) = (one for one in spans.values() if one.name == "job workflow.run")
    assert start.parent in spans, "the event's transaction is what started it"
    (step,) = (one for one in spans.values() if one.name == "job workflow.step")
    assert step.parent in spans
    scene.admin.call("DELETE", f"/workflows/{workflow['id']}").must(204)


def test_from_the_request_id_logs_tell_the_whole_story(scene: Scene):
    webhook = scene.admin.subscribe(scene.receiver.url, "task.created")
    answer: Answer = scene.admin.post("/tasks", {"title": "a story"})
    request_id = answer.headers["x-request-id"]
    story = ("event.recorded", "http.request", "webhook.attempt", "job.finished")

    def told() -> str:
        return scene.appliance.cli("logs", "--request", request_id).stdout

    scene.appliance.wait_for(lambda: "job.finished" in told(), seconds=15)
    lines = told().splitlines()
    found = [next(i for i, line in enumerate(lines) if f'"{word}"' in line) for word in story]
    assert found == sorted(found)
    attempt, job = (next(line for line in lines if f'"{word}"' in line) for word in story[2:])
    job_id = job.partition('"jobId":"')[2].partition('"')[0]
    assert job_id.startswith("job_")
    assert f'"jobId":"{job_id}"' in attempt
    assert '"deliveryId":"dlv_' in attempt
    scene.admin.call("DELETE", f"/webhooks/{webhook['id']}").must(204)


CREATED = ("POST", "/api/v1/tasks", "201")
MISSING = ("not_found", "GET", "/api/v1/tasks/{id}", "404")
DONE = ("webhook.deliver", "webhook", "completed")
AGAIN = ("webhook.deliver", "webhook", "retryable")
FAILED = ("queue_job_errors_total", "webhook.deliver", "webhook")


def drive(scene: Scene, *, tasks: int, missing: int) -> float:
    """Traffic whose numbers are known; how long the creating took here."""
    for _ in range(missing):
        assert scene.admin.get("/tasks/" + "0" * 24).status == 404
    began = time.monotonic()
    for number in range(tasks):
        scene.admin.create_task(f"number {number}")
    return time.monotonic() - began


def check_grown(before: Numbers, after: Numbers, *, tasks: int, failed: int, missing: int) -> None:
    """Every metric of the seed that counts has grown by what was done."""

    def grown(*key: str) -> float:
        return after.get(key, 0.0) - before.get(key, 0.0)

    assert grown("http_requests_total", *CREATED) == tasks
    assert grown("http_request_duration_seconds_count", *CREATED) == tasks
    assert grown("http_request_errors_total", *MISSING) == missing
    assert grown("http_requests_total", *MISSING[1:]) == missing
    assert grown("queue_jobs_total", *DONE) == tasks
    assert grown("queue_job_duration_seconds_count", *DONE) == tasks
    assert grown("queue_jobs_total", *AGAIN) == failed
    assert grown("queue_job_duration_seconds_count", *AGAIN) == failed
    assert grown(*FAILED) == failed
    assert grown("db_query_duration_seconds_count", "tasks", "insert") == tasks
    assert grown("db_query_duration_seconds_count", "transaction", "commit") >= tasks
    assert grown("redis_command_duration_seconds_count", "evalsha") >= tasks + missing
    assert grown("redis_command_duration_seconds_count", "publish") >= tasks
    assert grown("novapulse_webhook_attempts_total", "ok") == tasks
    assert grown("novapulse_webhook_latency_seconds_count") == tasks


def check_histograms(text: str) -> None:
    """Of each, the buckets never fall and the last one is the count."""
    found = 0
    for family in text_string_to_metric_families(text):
        if family.type != "histogram":
            continue
        buckets: dict[tuple[str, ...], list[float]] = {}
        counts: dict[tuple[str, ...], float] = {}
        for one in family.samples:
            labels = tuple(value for name, value in sorted(one.labels.items()) if name != "le")
            if one.name.endswith("_bucket"):
                buckets.setdefault(labels, []).append(one.value)
            elif one.name.endswith("_count"):
                counts[labels] = one.value
        assert all(row == sorted(row) for row in buckets.values()), family.name
        assert {labels: row[-1] for labels, row in buckets.items()} == counts
        found += 1
    assert found >= 5


@pytest.mark.timeout(150)
def test_every_metric_of_the_seed_has_its_value_and_no_death_takes_one_back(scene: Scene):
    before = scene.scrape()
    webhook = scene.admin.subscribe(scene.receiver.url, "task.created", retries=1)
    scene.receiver.answer_next(500)
    took = drive(scene, tasks=5, missing=3)
    done = ("queue_job_duration_seconds_count", *DONE)
    after = scene.wait_for(done, before.get(done, 0) + 5, seconds=30)
    check_grown(before, after, tasks=5, failed=1, missing=3)
    spent = ("http_request_duration_seconds_sum", *CREATED)
    assert 0 < after[spent] - before.get(spent, 0.0) <= took
    work = ("queue_job_duration_seconds_sum", *DONE)
    assert after[work] > before.get(work, 0.0)
    check_gauges(scene, after)
    kill(scene, "webhook-1")
    assert scene.appliance.cli("restart", "api-1").returncode == 0
    kept = scene.wait_for(("http_requests_total", *CREATED), after["http_requests_total", *CREATED])
    check_grown(after, kept, tasks=0, failed=0, missing=0)
    for key, value in after.items():
        if key[0].endswith(("_total", "_count", "_bucket", "_sum")):
            assert kept.get(key, 0.0) >= value, key
    drive(scene, tasks=4, missing=2)
    later = scene.wait_for(done, kept[done] + 4, seconds=30)
    check_grown(kept, later, tasks=4, failed=0, missing=2)
    check_gauges(scene, later)
    check_nothing_is_told_of_the_dead(scene, later)
    check_histograms(Client(scene.appliance).get("/metrics").body.decode())
    scene.admin.call("DELETE", f"/webhooks/{webhook['id']}").must(204)


def check_gauges(scene: Scene, found: Numbers) -> None:
    """Those of the seed: what waits, is open, is there."""
    assert found["redis_connection_status",] == 1
    processes = len([row for row in scene.appliance.status()["processes"] if row["pid"]])
    is_open = found["db_connection_pool_size", "idle"] + found["db_connection_pool_size", "in_use"]
    assert processes / 2 <= is_open <= 50 * processes
    assert found["queue_size", "report", "available"] == 0
    assert scene.appliance.cli("queue", "pause", "report").returncode == 0
    for _ in range(3):
        scene.admin.post("/reports", {"kind": "task_list", "format": "csv"}).must(202)
    size = ("queue_size", "report", "available")
    assert scene.wait_for(size, 3, seconds=45)[size] == 3
    assert scene.appliance.cli("queue", "resume", "report").returncode == 0
    scene.appliance.wait_for(lambda: scene.scrape()[size] == 0, seconds=45)


def check_nothing_is_told_of_the_dead(scene: Scene, found: Numbers) -> None:
    """No file of a process that ended, and no series."""
    rows = scene.appliance.status()["processes"]
    live = {row["name"] for row in rows if row["pid"]}
    names = [path.stem.rpartition("_")[2].partition(".")[0] for path in metric_files(scene)]
    writers = {path.stem.rpartition("_")[2] for path in metric_files(scene)}
    assert set(names) <= live
    assert len(writers) == len(set(names)), "one incarnation of each"
    told = {key[1] for key in found if key[0] == "novapulse_process_state"}
    assert told == {row["name"] for row in rows}


def metric_files(scene: Scene) -> list[Path]:
    return list((scene.appliance.root / "run" / "metrics").glob("*.db"))


def kill(scene: Scene, name: str) -> None:
    """And wait until another one is in its place."""
    former = scene.appliance.process(name)["pid"]
    os.kill(former, signal.SIGKILL)

    def is_replaced() -> bool:
        row = scene.appliance.process(name)
        return row["state"] == "ready" and row["pid"] != former

    scene.appliance.wait_for(is_replaced, seconds=20)


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="NOT TESTED: the scrape needs promtool, not here"
)
def test_promtool_accepts_the_scrape_and_the_verb_prints_the_same(scene: Scene):
    scraped = Client(scene.appliance).get("/metrics").body
    printed = scene.appliance.cli("metrics").stdout
    for text in (scraped, printed.encode()):
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            input=text,
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert {key[0] for key in numbers(printed)} <= {key[0] for key in scene.scrape()}


def test_every_metric_of_the_dashboards_is_in_a_scrape(scene: Scene):
    admin = scene.admin
    admin.post("/auth/password/forgot", {"email": "ada@acme.example"}).must(202)
    mails = ("novapulse_mails_total", "spooled")
    scene.wait_for(mails, 1)
    wanted = {name for page in DASHBOARDS for name in metrics_in(page)}
    scene.appliance.wait_for(lambda: not wanted - families(scene.scrape()), seconds=20)


def families(found: Numbers) -> set[str]:
    names = {key[0] for key in found}
    return names | {name.removesuffix("_bucket") for name in names}


def test_no_canary_is_in_a_log_trace_metric_redis_key_or_bundle(scene: Scene, tmp_path: Path):
    push_canaries(scene)
    assert len(scene.canaries) >= 30
    note(f"{len(scene.canaries)} canaries")
    time.sleep(1.5)  # spans leave once a second
    bundle = tmp_path / "bundle.tar.gz"
    assert scene.appliance.cli("support", "bundle", "--output", str(bundle)).returncode == 0
    places = {
        "traces": b"".join(scene.collector.raw),
        "metrics": Client(scene.appliance).get("/metrics").body,
        "redis": redis_content(scene.appliance),
        **log_files(scene.appliance),
    }
    with tarfile.open(bundle) as archive:
        for member in archive:
            if (file := archive.extractfile(member)) is not None:
                places[f"bundle {member.name}"] = file.read()
    assert b"throttle:" in places["redis"]
    leaks = [
        (place, word)
        for place, content in places.items()
        for word in scene.canaries
        if word.encode() in content
    ]
    assert leaks == []


def push_canaries(scene: Scene) -> None:
    """Marked secrets through every door, the wrong ones included."""
    count = iter(range(1_000))

    def canary(door: str) -> str:
        scene.canaries.append(word := f"canary-{door}-{next(count):03}-4711")
        return word

    admin, nobody = scene.admin, Client(scene.appliance)
    for email in ("ada@acme.example", "nobody@acme.example"):
        nobody.post("/auth/login", {"email": email, "password": canary("password")})
    nobody.post("/auth/login/mfa", {"challengeToken": canary("challenge"), "code": "123456"})
    nobody.post("/auth/refresh", {"refreshToken": canary("refresh")})
    nobody.post("/auth/password/reset", {"token": canary("reset"), "password": canary("new")})
    founding = {"companyName": "X", "name": "X", "email": "x@x.example", "password": canary("pw")}
    nobody.post("/auth/register", {**founding, "setupToken": canary("setup")})
    nobody.get(f"/invites/{canary('invite')}")
    nobody.post(f"/invites/{canary('invite')}/accept", {"name": "X", "password": canary("pw")})
    for scheme in ("Bearer", "Basic", "Token"):
        nobody.call("GET", "/tasks", headers={"Authorization": f"{scheme} {canary('header')}"})
    nobody.call("GET", "/tasks", headers={"Authorization": f"Bearer nvp_{canary('token')}"})
    nobody.call("GET", "/tasks", headers={"Cookie": f"__Host-session={canary('cookie')}"})
    nobody.call("GET", f"/tasks?token={canary('query')}")
    nobody.call("GET", f"/{canary('path')}")
    admin.post("/auth/password/change", {"current": canary("old"), "new": canary("new")})
    admin.post("/auth/step-up", {"password": canary("step"), "code": canary("code")})
    admin.post("/auth/mfa/setup", {"password": canary("mfa")})
    admin.post("/auth/mfa/disable", {"password": canary("mfa"), "code": canary("code")})
    admin.post("/api-tokens", {"name": "x", "scopes": [canary("scope")]})
    webhook = admin.post(
        "/webhooks",
        {
            "url": f"{scene.receiver.url}/{canary('url')}?key={canary('url')}",
            "events": ["task.created"],
            "headers": {"Authorization": f"Bearer {canary('hook')}", "X-Key": canary("hook")},
        },
    ).must(201)
    scene.canaries += [webhook["secret"], webhook["secret"].removeprefix("whsec_")]
    closed = {"url": f"http://127.0.0.1:9/{canary('closed')}", "events": ["task.created"]}
    admin.post("/webhooks", {**closed, "retries": 0}).must(201)
    admin.create_task(canary("title"))
    admin.call("POST", "/tasks", body={"title": "x"}, headers={"Idempotency-Key": canary("key")})
    scene.receiver.wait_for(lambda got: any("url" in one.path for one in got), seconds=15)
    invited = {"email": "invited@acme.example", "role": "user"}
    invite = admin.post("/invites", invited).must(201)
    scene.canaries.append(str(invite["link"]).rpartition("/")[2].rpartition("=")[2])


def log_files(appliance: Appliance) -> dict[str, bytes]:
    files = [*(appliance.root / "log").iterdir(), *appliance.root.parent.glob("talk")]
    return {file.name: file.read_bytes() for file in files if file.is_file()}


def redis_content(appliance: Appliance) -> bytes:
    """Every key with its value, as the server keeps them."""
    import redis

    from novapulse.core.settings import load
    from novapulse.processes import places
    from novapulse.stores.redis import redis_password

    layout = places.layout(load(root=appliance.root, environ={}))
    client = redis.Redis(
        unix_socket_path=str(layout.redis_socket),
        username="novapulse",
        password=redis_password(layout),
    )
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"stream": client.xrange,
    }
    with client:
        found = [(key, readers[client.type(key)](key)) for key in client.scan_iter()]
        return repr(found).encode() if found else b""


def test_what_a_process_has_not_sent_it_sends_before_it_ends(scene: Scene):
    """Last: it stops the appliance. Spans leave once a second otherwise."""
    trace = "11112222333344445555666677778888"
    webhook = scene.admin.subscribe(f"{scene.receiver.url}/drained", "task.created")
    consumer = scene.appliance.process("webhook-1")["pid"]
    time.sleep(1.2)  # what came of the subscribing is told
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    scene.admin.call("POST", "/tasks", body={"title": "x"}, headers=headers).must(201)
    scene.receiver.wait_for(lambda got: any("drained" in one.path for one in got), seconds=15)
    os.kill(consumer, signal.SIGTERM)
    scene.appliance.wait_for(lambda: not Path(f"/proc/{consumer}").exists(), seconds=10)
    tried = attempts(scene.collector.spans, trace)
    (ours,) = (one for one in tried if one.attributes["novapulse.webhook_id"] == webhook["id"])
    assert ours.process.startswith("webhook-1")
    scene.admin.call("DELETE", f"/webhooks/{webhook['id']}").must(204)

    trace = trace[::-1]
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    assert scene.admin.call("GET", "/tasks", headers=headers).status == 200
    assert scene.appliance.stop() == 0
    names = {one.name for one in scene.collector.spans if one.trace == trace}
    assert "GET /api/v1/tasks" in names
