"""What the fork server loads leaves nothing behind that children must not share."""

import json
import os
import ssl
import subprocess
import sys
from pathlib import Path

from novapulse.core.connector import tls_context
from novapulse.processes import fork_server

LOAD = """\
import json, os, sys, threading, asyncio
from pathlib import Path
before = {os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.exists()}
from novapulse.processes import fork_server
from novapulse.processes.starting import FORKED
fork_server._load(FORKED[0])
for part in fork_server._load_rest(FORKED[1:]):
    pass
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
    assert found == {
        "threads": 1,
        "tasks": 1,
        "opened": [],
        "loop": False,
        "missing": [],
        "openTelemetry": False,
    }
    assert list(tmp_path.iterdir()) == []


def test_while_the_program_is_loaded_no_authorities_are_read_and_afterwards_they_are():
    with fork_server._no_authorities():
        assert ssl.create_default_context().cert_store_stats()["x509_ca"] == 0
    assert "set_default_verify_paths" not in vars(ssl.SSLContext)


def test_the_authorities_are_read_with_the_first_connection_that_needs_them():
    context = tls_context(None)
    assert context.verify_mode is ssl.CERT_REQUIRED
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="example.com")
    assert context.cert_store_stats() == ssl.create_default_context().cert_store_stats()
