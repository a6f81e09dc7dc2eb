"""Faults of the machine around it: a certificate that ends, a disk that fills up."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.appliance import OPEN_CONFIG, Client, appliance_in_temporary_root
from tests.support.certificates import TlsServer, tls_server
from tests.support.judging import Watched, firing, played
from tests.support.replicas import free_port

pytestmark = [pytest.mark.slow, pytest.mark.chaos]
MIB = 1 << 20
# Enough for an embedded mongod and what is kept free of it.
DISK_MIB = 1_200


class Scene(Watched):
    client: Client
    server: TlsServer

    @property
    def state(self) -> Path:
        return self.appliance.root / "state"

    def pids(self) -> dict[str, int]:
        return {row["name"]: row["pid"] for row in self.appliance.status()["processes"]}

    def fill(self, *, leave_mib: int) -> Path:
        """A file that leaves so much of the disk."""
        ballast = self.state / "ballast"
        size = ballast.stat().st_size if ballast.exists() else 0
        with ballast.open("ab") as file:
            more = shutil.disk_usage(self.state).free - leave_mib * MIB
            os.posix_fallocate(file.fileno(), 0, size + more)
        return ballast

    def answer(self) -> tuple[int, str]:
        """Of a change: its status, and the problem's code."""
        done = self.client.post("/tasks", {"title": "more"})
        return done.status, done.json().get("code", "")


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """`directory` on a file system of its own."""
    directory.mkdir(mode=0o700, parents=True)
    options = f"size={DISK_MIB}m,mode=0700"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)]
    if os.getuid() != 0 or subprocess.run(command, check=False).returncode != 0:
        pytest.skip("NOT TESTED: a disk that is nearly full needs the right to mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("tls")
    with tls_server(directory, days=60) as server:
        config = f'[server]\npublic_url = "{server.url}"\n\n{OPEN_CONFIG}'
        with (
            appliance_in_temporary_root(config) as appliance,
            small_disk(appliance.root / "state"),
        ):
            own = f"127.0.0.1:{free_port()}"
            appliance.start("--listen", own)
            appliance.url = f"http://{own}"  # it says its public one
            one = Scene(appliance)
            one.client, one.server = appliance.found_company(), server
            yield one
            appliance.close()


def test_a_certificate_that_ends_soon_fires(scene: Scene, tmp_path: Path):
    name = "novapulse_certificate_left_seconds"
    before = scene.calm(name, above=59 * 86_400)
    scene.server.show(days=3)
    assert scene.appliance.cli("restart", "scheduler").returncode == 0
    scene.wait_for(name, above=2 * 86_400, below=3 * 86_400)
    scene.check(before, {"CertificateExpires"}, tmp_path)
    scene.server.show(days=60)
    assert scene.appliance.cli("restart", "scheduler").returncode == 0
    after = scene.wait_for(name, above=59 * 86_400)
    assert "CertificateExpires" not in firing(played(before, after))


def test_a_disk_that_fills_up_refuses_changes_while_mongodb_lives_and_fires(
    scene: Scene, tmp_path: Path
):
    before, pids = scene.wait_for("novapulse_disk_free_bytes", above=600 * MIB), scene.pids()
    assert scene.answer() == (201, "")
    ballast = scene.fill(leave_mib=300)
    scene.appliance.wait_for(lambda: scene.answer() == (507, "storage_full"), seconds=15)
    scene.appliance.wait_for(
        lambda: {scene.answer() for _ in range(8)} == {(507, "storage_full")}, seconds=15
    )
    scene.client.get("/tasks?limit=5").must(200)
    scene.client.get("/health/ready").must(200)
    assert scene.client.get("/health").must(200)["status"] == "degraded"
    assert "DiskFilling" not in firing(played(before, scene.scrape())), "not yet"
    scene.fill(leave_mib=90)
    scene.wait_for("novapulse_disk_free_bytes", below=100 * MIB)
    scene.check(before, {"DiskFilling"}, tmp_path)
    ballast.unlink()
    scene.appliance.wait_for(lambda: {scene.answer() for _ in range(8)} == {(201, "")}, seconds=15)
    assert scene.pids() == pids, "nothing was started anew"
    after = scene.wait_for("novapulse_disk_free_bytes", above=600 * MIB)
    assert "DiskFilling" not in firing(played(before, after))
