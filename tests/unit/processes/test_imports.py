"""What long-lived processes load: the supervisor of an appliance next to nothing."""

import subprocess
import sys

HEAVY = {"asyncio", "structlog", "rich", "pymongo", "redis", "huey", "aiohttp", "hypercorn"}
HEAVY |= {"starlette", "prometheus_client", "cryptography", "ssl"}


def imported_by(module: str) -> set[str]:
    code = f"import sys; import {module}; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in said.stdout.split()}


def test_an_appliances_supervisor_loads_no_framework():
    assert imported_by("novapulse.processes.appliance") & HEAVY == set()


def test_no_process_loads_what_only_terminals_need():
    assert "rich" not in imported_by("novapulse.processes.entry")


def test_the_head_start_is_given_before_anything_dear_is_loaded():
    dear = {"click", "msgspec", "dataclasses", "inspect", "subprocess", "json", "ctypes"}
    assert imported_by("novapulse.processes.starting") & dear == set()
