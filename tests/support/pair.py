"""Two appliances over shared stores behind nginx and HAProxy, as the scaling guide sets them up."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.support.appliance import Appliance, Client, appliance_in_temporary_root
from tests.support.replicas import SharedStores, free_port

DATABASE = "shared"
_SAMPLES = Path(__file__).parents[2] / "packaging" / "proxies"
_ROLES = ("api,consumer,scheduler", "api,consumer:webhook,consumer:report,scheduler")
_PROXY_SECONDS = 10.0


@dataclass
class Pair:
    """`one` and `two`; `front` is how people reach them, by whichever nginx chooses."""

    stores: SharedStores
    one: Appliance
    two: Appliance
    nginx: str
    front: "Front"

    @property
    def both(self) -> tuple[Appliance, Appliance]:
        return self.one, self.two

    def start(self) -> Client:
        """Found the company on the first one; the second gets the first one's keys."""
        # Bound again after a drain: no outgoing connection may have got the port meanwhile.
        self.one.start("--roles", _ROLES[0], "--listen", f"127.0.0.1:{free_port()}")
        founder = self.one.found_company()
        secrets = self.two.root / "state" / "secrets"
        secrets.parent.mkdir(mode=0o700)
        shutil.copytree(self.one.root / "state" / "secrets", secrets)
        self.two.start("--roles", _ROLES[1], "--listen", f"127.0.0.1:{free_port()}")
        self.front.url = f"http://127.0.0.1:{free_port()}"
        return Client(self.front, token=founder.headers["Authorization"].partition(" ")[2])

    def start_again(self, appliance: Appliance) -> None:
        """On the address that nginx knows."""
        roles = _ROLES[self.both.index(appliance)]
        appliance.start("--roles", roles, "--listen", appliance.address)

    def database(self) -> MongoClient[dict[str, Any]]:
        return self.stores.replicas.client()

    def leader(self) -> str:
        """Who holds the scheduler's lease, as `<appliance>/<instance>`."""
        with self.database() as client:
            row = client[DATABASE]["leases"].find_one({"_id": "scheduler"})
        return "" if row is None else str(row["owner"])

    def leads(self, appliance: Appliance) -> bool:
        name = (appliance.root / "state" / "appliance-id").read_text().strip()
        return self.leader().startswith(f"{name}/")


class Front(Appliance):
    """The proxy's address, to be asked like an appliance."""

    def __init__(self) -> None:
        self.url = ""


@contextmanager
def running_nginx(pair: Pair, directory: Path) -> Iterator[None]:
    """The sample of packaging/proxies, with the addresses of this pair."""
    sample = _sample("nginx.conf", pair)
    sample, count = re.subn(r"listen 80;", f"listen {pair.front.address};", sample)
    assert count == 1
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {directory / kind};\n" for kind in kinds)
    mark = "add_header X-Upstream $upstream_addr always;\n"
    (directory / "nginx.conf").write_text(
        # One process: its end is the end of nginx.
        f"daemon off;\nmaster_process off;\npid {directory / 'pid'};\n"
        f"error_log {directory / 'error.log'};\nevents {{ worker_connections 4096; }}\n"
        f"http {{\naccess_log off;\n{places}{mark}{sample}\n}}\n"
    )
    nginx = subprocess.Popen(
        [pair.nginx, "-p", str(directory), "-c", str(directory / "nginx.conf")],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_it_listens(pair.front.address)
        assert nginx.poll() is None, (directory / "error.log").read_text()
        yield
    finally:
        nginx.kill()
        nginx.wait()


@contextmanager
def running_haproxy(pair: Pair, directory: Path) -> Iterator["Front | None"]:
    """The other sample, at an address of its own; None where HAProxy is not installed."""
    haproxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if haproxy is None:
        yield None
        return
    front = Front()
    front.url = f"http://127.0.0.1:{free_port()}"
    sample, count = re.subn(r"bind :80", f"bind {front.address}", _sample("haproxy.cfg", pair))
    assert count == 1
    mark = "    http-response set-header X-Upstream %s\n"
    (directory / "haproxy.cfg").write_text(sample + mark)
    with (directory / "haproxy.log").open("wb") as log:
        proxy = subprocess.Popen(
            [haproxy, "-db", "-f", str(directory / "haproxy.cfg")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until_it_listens(front.address)
        assert proxy.poll() is None, (directory / "haproxy.log").read_text()
        yield front
    finally:
        proxy.kill()
        proxy.wait()


def _sample(name: str, pair: Pair) -> str:
    """One of packaging/proxies, with the addresses of this pair."""
    sample = (_SAMPLES / name).read_text()
    for number, appliance in enumerate(pair.both, 11):
        sample, count = re.subn(rf"192\.0\.2\.{number}:5000", appliance.address, sample)
        assert count == 1
    return sample


def wait_until_it_listens(address: str) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + _PROXY_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens at {address}"
            time.sleep(0.02)


@contextmanager
def pair_of_appliances(stores: SharedStores, more_config: str) -> Iterator[Pair]:
    """Not started yet; gone afterwards. Skips where nginx is not installed."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("NOT TESTED: two appliances behind nginx, which is not installed here")
    config = stores.config(DATABASE) + "\n" + more_config
    with appliance_in_temporary_root(config) as one, appliance_in_temporary_root(config) as two:
        yield Pair(stores, one, two, nginx, Front())
