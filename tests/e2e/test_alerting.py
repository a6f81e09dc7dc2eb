"""Redis dies: the alert fires in `status`, in a mail, and in a real Prometheus; then it ends.

Then the whole appliance is gone, which only Prometheus can tell: two minutes later it fires, which
is waited for where CHAOS_OUTAGES is set.
"""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from novapulse.stores.find import find_store
from tests.support.appliance import OPEN_CONFIG, Appliance, appliance_in_temporary_root

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(300)]
IS_LONG = bool(os.environ.get("CHAOS_OUTAGES"))
RULES = Path(__file__).parents[2] / "packaging" / "monitoring" / "rules.yml"
PROMETHEUS = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: novapulse
    metrics_path: /api/v1/metrics
    static_configs: [{{targets: ["{target}"]}}]
"""


class Redis:
    """A redis-server that the test may kill, and start again at the same place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        given = {"unixsocket": str(self.path), "port": "0", "save": "", "requirepass": "x" * 20}
        options = [word for name, value in given.items() for word in (f"--{name}", value)]
        self._child = subprocess.Popen(
            [find_store("redis-server"), *options], cwd=self.path.parent, stdout=subprocess.DEVNULL
        )

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait(10)


@pytest.fixture
def scene() -> Iterator[tuple[Appliance, Redis]]:
    with appliance_in_temporary_root("[logging]\n") as one:
        redis = Redis(one.root.parent / "r.sock")
        url = f"unix://default:{'x' * 20}@{redis.path}"
        config = (
            f'{OPEN_CONFIG}\n[redis]\nurl = "{url}"\n[alerts]\nrecipients = ["ops@acme.example"]\n'
        )
        (one.root / "config.toml").write_text(config)
        redis.start()
        try:
            one.start()
            yield one, redis
            one.close()
        finally:
            redis.kill()


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[str]:
    """The address of a real one that scrapes `target` every second, if there is one to be had."""
    program = shutil.which("prometheus")
    if program is None:
        yield ""
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (directory / "prometheus.yml").write_text(PROMETHEUS.format(rules=RULES, target=target))
    options = {
        "config.file": directory / "prometheus.yml",
        "storage.tsdb.path": directory / "tsdb",
        "web.listen-address": address,
        "log.level": "error",
    }
    child = subprocess.Popen([program, *(f"--{name}={value}" for name, value in options.items())])
    try:
        yield address
    finally:
        child.terminate()
        child.wait(20)


def alerts_in(address: str) -> dict[str, str]:
    """Their names and states."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/api/v1/alerts")
        with connection.getresponse() as answer:
            alerts = json.load(answer)["data"]["alerts"]
    except (OSError, http.client.HTTPException, ValueError):  # it starts
        return {}
    finally:
        connection.close()
    return {one["labels"]["alertname"]: one["state"] for one in alerts}


def firing(appliance: Appliance) -> dict[str, dict[str, Any]]:
    return {alert["name"]: alert for alert in appliance.status()["alerts"]}


def until(condition: Any, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.5)


def test_a_dead_redis_fires_everywhere_until_its_return_and_so_does_a_dead_appliance(
    scene: tuple[Appliance, Redis], tmp_path: Path
):
    appliance, redis = scene
    assert "RedisDown" not in firing(appliance)
    with prometheus(tmp_path, appliance.address) as address:
        redis.kill()
        until(lambda: "RedisDown" in firing(appliance), seconds=50)
        alert = firing(appliance)["RedisDown"]
        assert alert["severity"] == "critical"
        assert alert["runbook"].endswith("#redis-is-down")
        shown = appliance.cli("status").stdout
        assert "alert: RedisDown since" in shown
        until(lambda: mailed(appliance) == 1, seconds=15)
        if address:
            until(lambda: alerts_in(address).get("RedisDown") == "firing", seconds=30)
        redis.start()
        until(lambda: "RedisDown" not in firing(appliance), seconds=30)
        assert mailed(appliance) == 1
        if address:
            until(lambda: "RedisDown" not in alerts_in(address), seconds=15)
            assert "NovaPulseDown" not in alerts_in(address)
            appliance.close()
            until(lambda: "NovaPulseDown" in alerts_in(address), seconds=15)
            if IS_LONG:
                until(lambda: alerts_in(address)["NovaPulseDown"] == "firing", seconds=150)
    if not address:
        pytest.skip("NOT TESTED: a real Prometheus; it is not here")


def mailed(appliance: Appliance) -> int:
    mails = json.loads(appliance.cli("mail", "list", "--json").stdout)
    return sum("RedisDown" in one["subject"] for one in mails["messages"])
