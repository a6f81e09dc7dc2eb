"""What the benchmarks need around their racers: npm packages, a plain Redis, CPU clocks."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from novapulse.stores.find import find_store

PEERS = Path(__file__).parent / "peers"
CHECKOUT = Path(__file__).parents[2]
_SCRATCH = CHECKOUT / ".bench"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class PlainRedis:
    """A redis-server as the peers expect it: no users, AOF everysec."""

    pid: int
    socket: Path


@pytest.fixture(scope="module")
def peers() -> Path:
    """The npm packages, at their pinned versions, in a scratch folder of the checkout."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: there is nobody to race with")
    folder = _SCRATCH / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    for file in PEERS.iterdir():
        shutil.copy(file, folder)
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="module")
def plain_redis() -> Iterator[PlainRedis]:
    with tempfile.TemporaryDirectory(prefix="np-bench-") as name:
        socket = Path(name) / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(socket), "--dir", name, "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "everysec"]
        server = subprocess.Popen(
            [str(find_store("redis-server")), *options, "--maxmemory-policy", "noeviction"],
            stdout=subprocess.DEVNULL,
        )
        try:
            while not socket.exists():
                assert server.poll() is None
            yield PlainRedis(server.pid, socket)
        finally:
            server.terminate()
            server.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
