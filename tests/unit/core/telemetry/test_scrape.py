"""Our merging says what prometheus_client's own does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from novapulse.core.telemetry import scrape

PROCESS = """\
import os
from novapulse.core.telemetry import metrics
n = int(os.environ["NOVAPULSE_INSTANCE"][-1])
for seconds in (0.001, 0.03, 0.3, 30):
    metrics.db_query('tasks "x"\\\\ y', "find").observe(seconds * n)
metrics.http_request("GET", "/a", 200)[1].inc(n)
metrics.http_request_errors_total.labels("GET", "/b", "404", "not_found").inc()
metrics.redis_connection_status.set(n - 1)
metrics.db_connection_pool_size.labels("idle").set(n)
"""
REFERENCE = """\
import sys
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
sys.stdout.buffer.write(generate_latest(registry))
"""


def run(code: str, directory: Path, instance: str) -> bytes:
    environment = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(directory),
        "NOVAPULSE_INSTANCE": instance,
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, timeout=30, check=True
    )
    return done.stdout


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    return {
        (
            family.name,
            family.type,
            family.documentation,
            one.name,
            str(sorted(one.labels.items())),
        ): one.value
        for family in text_string_to_metric_families(text.decode())
        for one in family.samples
    }


def test_two_processes_are_one_text_as_prometheus_client_has_it(tmp_path: Path):
    for instance in ("p1", "p2"):
        run(PROCESS, tmp_path, instance)
    ours, theirs = samples(scrape.text(tmp_path)), samples(run(REFERENCE, tmp_path, "p3"))
    assert ours == theirs
    assert len(ours) > 30


def test_what_the_supervisor_says_is_part_of_it(tmp_path: Path):
    directory = tmp_path / "metrics"
    directory.mkdir()
    line = 'novapulse_process_state{process="api-1",state="ready"} 1\n'
    (tmp_path / scrape.SUPERVISORS_FILE).write_text(f"# HELP x y\n{line}")
    assert scrape.text(directory).decode().endswith(line)
    (only,) = scrape.samples(directory)
    assert only.labels == (("process", "api-1"), ("state", "ready"))


FORKING = """\
import os, sys
from novapulse.core.telemetry import metrics
metrics.http_request("GET", "/a", 200)[1].inc(5)
if os.fork() == 0:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ["THEIRS"]
    metrics.record_as("child")
    metrics.http_request("GET", "/a", 200)[1].inc()
    metrics.mails_total.labels("sent").inc()
    os._exit(0)
os.wait()
"""


def test_a_forked_process_counts_from_zero_in_files_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    monkeypatch.setenv("THEIRS", str(theirs))
    run(FORKING, ours, "parent")
    counted = {
        directory.name: {
            one.name: one.value
            for one in scrape.samples(directory)
            if one.name in ("http_requests_total", "novapulse_mails_total")
            or one.name == "redis_connection_status"
        }
        for directory in (ours, theirs)
    }
    assert counted["ours"] == {"http_requests_total": 5.0, "redis_connection_status": 0.0}
    assert counted["theirs"] == {
        "http_requests_total": 1.0,
        "novapulse_mails_total": 1.0,
        "redis_connection_status": 1.0,
    }
    assert {path.stem.rpartition("_")[2] for path in theirs.glob("*.db")} == {"child"}
