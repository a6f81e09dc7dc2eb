"""The compose file's services, from the container file's steps, over the stores that it names.

Without a container engine: see `tests.support.images` for what stands in for it. The images of
the stores are not had here; their commands are run with the programs that tests run everywhere.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from novapulse.stores.find import clean_environment, find_store
from tests.packaging.conftest import Built
from tests.packaging.test_samples import CONTAINER, documents
from tests.support.images import Image, Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
_READY_SECONDS = 60.0
_HOSTS = "127.0.0.1 localhost mongo redis\n"
_MAKE_SET = """
import json, sys, pymongo
with pymongo.MongoClient("mongodb://mongo:27017/?directConnection=true", timeoutMS=20000) as client:
    try:
        client.admin.command("replSetInitiate", json.loads(sys.argv[1]))
    except pymongo.errors.OperationFailure as error:
        assert error.code == 23, error  # the driver has repeated what was done already
"""
# A company, a report that a consumer in the other container makes, and the report itself.
_USE = """
import http.client, json, sys, time
def ask(method, path, body=None, token=""):
    connection = http.client.HTTPConnection("127.0.0.1:5000", timeout=20)
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection.request(method, f"/api/v1{path}", body and json.dumps(body), headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status < 300, (method, path, answer.status, content)
    return content
founder = {"companyName": "Acme", "name": "Ada", "email": "ada@acme.example"}
founder |= {"password": "correct horse battery staple 7", "setupToken": sys.argv[1]}
token = json.loads(ask("POST", "/auth/register", founder))["accessToken"]
ask("POST", "/tasks", {"title": "Water the plants"}, token)
report = json.loads(ask("POST", "/reports", {"kind": "task_list", "format": "csv"}, token))
deadline = time.monotonic() + 30
place = f"/reports/{report['id']}"
while (found := json.loads(ask("GET", place, None, token)))["status"] != "ready":
    assert time.monotonic() < deadline, found
    time.sleep(0.2)
print(ask("GET", f"{place}/download", None, token).decode())
"""


def compose() -> dict[str, Any]:
    (document,) = documents(CONTAINER / "compose.yaml")
    return document


class Network:
    """One loopback, on which the services' names are known."""

    def __init__(self, directory: Path) -> None:
        hosts = directory / "hosts"
        hosts.write_text(_HOSTS)
        script = (
            f"mount --bind {hosts} /etc/hosts && ip link set lo up && echo up && exec sleep 900"
        )
        self._holder = subprocess.Popen(
            [*_DIES_WITH_US, "unshare", "--net", "--mount", "sh", "-c", script],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n"
        self.pid = self._holder.pid

    def inside(self, *command: str) -> list[str]:
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", *command]

    def python(self, script: str, *words: str) -> str:
        done = subprocess.run(
            self.inside(sys.executable, "-c", script, *words),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


@contextmanager
def store(network: Network, told: dict[str, Any], option: str, place: Path) -> Iterator[None]:
    """The command of the compose file with a program of ours; `option` says where its data goes.

    Not the working directory does, which is / after the network's mounts are entered.
    """
    name, *words = told["command"]
    place.mkdir()
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [*_DIES_WITH_US, *network.inside(str(find_store(name)), *words, option, str(place))],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield
        assert process.poll() is None, (place / "log").read_text()[-2000:]
    finally:
        process.kill()
        process.wait()


def set_of(healthcheck: str) -> str:
    """The replica set that the first health check makes, as JSON."""
    found = re.search(r"rs\.initiate\((\{.*\})\)", healthcheck)
    assert found is not None
    return re.sub(r"(\w+):(?= )", r'"\1":', found[1])


@pytest.fixture
def directory() -> Iterator[Path]:
    one = Path(mkdtemp(prefix="np-compose-", dir="/var/tmp"))
    try:
        yield one
    finally:
        shutil.rmtree(one, ignore_errors=True)


def wait_until_healthy(service: Service, check: list[str]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        done = service.run(*check) if service.main else None
        if done is not None and done.returncode == 0:
            return
        assert service.is_running, service.said
        assert time.monotonic() < deadline, f"{done}\n{service.said}"
        time.sleep(0.5)


def roles_of(service: Service) -> set[str]:
    report = json.loads(service.run("novapulse", "status", "--json").stdout)
    return {row["role"] for row in report["processes"]}


def test_compose_brings_up_api_consumers_and_stores(built: Built, directory: Path):
    told = compose()["services"]
    try:
        image = Image(directory / "image", CONTAINER / "Containerfile", built.tree.parent)
    except OSError as error:
        pytest.skip(f"NOT TESTED: THE CONTAINERS: {error}")
    (image.root / "etc/hosts").write_text(_HOSTS)
    # A named volume begins as what the image has in its place, and with its owner.
    secrets = directory / "secrets"
    shutil.copytree(image.root / "var/lib/novapulse/secrets", secrets)
    subprocess.run(["chown", image.settings["USER"], str(secrets)], check=True)
    _, _, check = image.settings["HEALTHCHECK"].partition("CMD ")
    with ExitStack() as stack:
        network = Network(directory)
        stack.callback(network.close)
        stack.enter_context(store(network, told["mongo"], "--dbpath", directory / "mongo"))
        stack.enter_context(store(network, told["redis"], "--dir", directory / "redis"))
        network.python(_MAKE_SET, set_of(told["mongo"]["healthcheck"]["test"][-1]))
        services = {}
        for name in ("api", "worker"):
            one = Service(image, told[name], place=directory / name, network=network.pid)
            (volume,) = told[name]["volumes"]
            one.start(f"{secrets}:{volume.partition(':')[2]}")
            stack.callback(one.close)
            services[name] = one
        for one in services.values():
            wait_until_healthy(one, json.loads(check))
        api, worker = services["api"], services["worker"]
        roles = {name: roles_of(one) for name, one in services.items()}
        assert "api" in roles["api"]
        assert not any(role.startswith("consumer") for role in roles["api"])
        assert {"scheduler", "consumer:report", "consumer:webhook"} <= roles["worker"]
        token = api.run("novapulse", "setup-token").stdout.strip()
        assert "Water the plants" in network.python(_USE, token)
        assert Path(f"/proc/{worker.main}").stat().st_uid == 10001
        capabilities = Path(f"/proc/{worker.main}/status").read_text()
        assert (
            re.findall(r"^Cap(?:Prm|Eff|Bnd):\t([0-9a-f]+)$", capabilities, re.MULTILINE)
            == ["0" * 16] * 3
        )
        assert [services[name].stop() for name in ("api", "worker")] == [0, 0], worker.said


def test_a_published_port_is_the_one_that_the_image_listens_on():
    told = compose()["services"]
    (published,) = told["api"]["ports"]
    text = (CONTAINER / "Containerfile").read_text()
    assert published.rpartition(":")[2] == re.search(r"^EXPOSE (\d+)$", text, re.MULTILINE)[1]  # type: ignore[index]  # it is there
    assert told["api"]["image"] == told["worker"]["image"]
