"""What the fork server loads leaves nothing behind that children must not share."""

import json
import os
import subprocess
import sys
from pathlib import Path

LOAD = """\
import json, os, sys, threading, asyncio
from pathlib import Path
before = {os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.exists()}
from novapulse.processes import fork_server
from novapulse.processes.specs import FORKED
fork_server._load(FORKED)
after = {os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.exists()}
print(json.dumps({
    "threads": threading.active_count(),
    "tasks": len(os.listdir("/proc/self/task")),
    "opened": sorted(after - before),
    "loop": asyncio._get_running_loop() is not None,
    "missing": [role for role in FORKED if f"novapulse.processes.{role}" not in sys.modules],
    "openTelemetry": "opentelemetry.sdk" in sys.modules,
}))
"""


def test_loading_opens_nothing_and_starts_nothing(tmp_path: Path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout)
    # Metrics begin with their declaration, in files that nobody else can find any more.
    assert [path for path in found.pop("opened") if not path.endswith(".db (deleted)")] == []
    assert found == {
        "threads": 1,
        "tasks": 1,
        "loop": False,
        "missing": [],
        "openTelemetry": False,
    }
    assert list(tmp_path.iterdir()) == []
