"""`make bench-api`: the whole authenticated path of GET and POST /tasks beside a tuned NestJS.

One server process each, alternating in one run. Prints medians and ratios;
asserts only that every request was answered well.
"""

import http.client
import json
import os
import re
import secrets
import shutil
import socket
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest
from pymongo import MongoClient

from tests.benchmarks.peer_setup import PlainRedis, cpu_seconds, peers, plain_redis
from tests.support.appliance import appliance_in_temporary_root
from tests.support.stores import RunningStores

__all__ = ["peers", "plain_redis"]  # fixtures

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
CONNECTIONS = 32
TASKS = 200
_CONFIG = """\
[server]
processes = 1

[rate_limits]
general = "1000000/second"
"""
_POST = """\
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"title": "A task of the benchmark"}'
"""


@dataclass(frozen=True)
class Target:
    url: str
    token: str
    pid: int


@dataclass(frozen=True)
class Lap:
    requests_per_second: float
    cpu_microseconds: float  # of the server process, a request


@contextmanager
def nest(folder: Path, redis: PlainRedis, stores: RunningStores) -> Iterator[Target]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secret, database = secrets.token_hex(32), stores.database_name("nest")
    company, session = secrets.token_hex(12), secrets.token_hex(12)
    with MongoClient[dict[str, object]](stores.mongo_uri) as client:
        rows = client[database]
        rows.peer_tasks.create_index([("companyId", 1), ("createdAt", -1), ("_id", -1)])
        rows.peer_sessions.insert_one({"_id": session})
        now = datetime.now(UTC)
        shared = {"companyId": company, "status": "todo", "priority": "medium", "labels": []}
        more = dict.fromkeys(("description", "projectId", "assigneeId", "dueAt", "completedAt"))
        rows.peer_tasks.insert_many(
            {
                "_id": secrets.token_hex(12),
                "title": f"Task {number}",
                **shared,
                **more,
                "createdBy": session,
                "createdAt": now,
                "updatedAt": now,
                "version": 1,
            }
            for number in range(TASKS)
        )
    claims = {"sub": session, "cid": company, "sid": session, "exp": now + timedelta(hours=1)}
    env = {
        **os.environ,
        "PORT": str(port),
        "MONGO": stores.mongo_uri,
        "REDIS": str(redis.socket),
        "DATABASE": database,
        "JWT_SECRET": secret,
        "NODE_ENV": "production",
    }
    server = subprocess.Popen(
        ["node", "nest.mjs"],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline().strip() == "ready"
        token = jwt.encode(claims, secret, algorithm="HS256")
        yield Target(f"http://127.0.0.1:{port}/api/v1/tasks", token, server.pid)
    finally:
        server.terminate()
        server.communicate()


@contextmanager
def novapulse() -> Iterator[Target]:
    with appliance_in_temporary_root(_CONFIG) as appliance:
        appliance.start()
        client = appliance.found_company()
        for number in range(TASKS):
            client.create_task(f"Task {number}")
        token = client.headers["Authorization"].removeprefix("Bearer ")
        api = next(one for one in appliance.status()["processes"] if one["role"] == "api")
        yield Target(f"{appliance.url}/api/v1/tasks", token, api["pid"])
        assert appliance.stop() == 0


def shape(target: Target) -> tuple[int, int, set[str]]:
    """The status, the rows of a page and what a row consists of: both do the same work."""
    address = urlsplit(target.url)
    with closing(http.client.HTTPConnection(address.netloc, timeout=10)) as connection:
        headers = {"Authorization": f"Bearer {target.token}"}
        connection.request("GET", f"{address.path}?limit=20", headers=headers)
        answer = connection.getresponse()
        page = json.load(answer)
    return answer.status, len(page["data"]), set(page["data"][0])


def lap(target: Target, *options: str, query: str = "") -> Lap:
    before = cpu_seconds(target.pid)
    done = subprocess.run(
        [
            *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", *options),
            *("-H", f"Authorization: Bearer {target.token}", target.url + query),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "Non-2xx" not in done, done
    assert "Socket errors" not in done, done
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done)
    number = re.search(r"(\d+) requests in", done)
    assert rate, done
    assert number, done
    cpu = cpu_seconds(target.pid) - before
    return Lap(float(rate[1]), cpu / int(number[1]) * 1e6)


@pytest.mark.timeout(0)
def test_the_task_endpoints_against_nest(
    peers: Path, plain_redis: PlainRedis, private_stores: RunningStores, tmp_path: Path
) -> None:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    script = tmp_path / "post.lua"
    script.write_text(_POST)
    with novapulse() as ours, nest(peers, plain_redis, private_stores) as peer:
        assert shape(ours) == shape(peer)
        kinds: dict[str, Callable[[Target], Lap]] = {
            "GET /tasks?limit=20": lambda target: lap(target, query="?limit=20"),
            "POST /tasks": lambda target: lap(target, "-s", str(script)),
        }
        for name, measure in kinds.items():
            measure(ours), measure(peer)  # both are warm
            pairs = [(measure(ours), measure(peer)) for _ in range(ROUNDS)]
            report(name, pairs)
            assert len(pairs) == ROUNDS


def report(name: str, pairs: list[tuple[Lap, Lap]]) -> None:
    rate = [statistics.median(pair[side].requests_per_second for pair in pairs) for side in (0, 1)]
    cpu = [statistics.median(pair[side].cpu_microseconds for pair in pairs) for side in (0, 1)]
    ratio = statistics.median(a.requests_per_second / b.requests_per_second for a, b in pairs)
    share = statistics.median(a.cpu_microseconds / b.cpu_microseconds for a, b in pairs)
    print(
        f"\n{name}: ours {rate[0]:.0f}/s at {cpu[0]:.0f} us, NestJS {rate[1]:.0f}/s at "
        f"{cpu[1]:.0f} us; {ratio:.2f}x the rate, {share:.2f}x the CPU of the process"
    )
