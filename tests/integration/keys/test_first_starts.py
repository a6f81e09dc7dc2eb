"""First starts over one directory of secrets: two at once (compose), or copied (Kubernetes)."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_readme_tour import blocks
from tests.support.appliance import PROGRAM, START_SECONDS, appliance_in_temporary_root
from tests.support.stores import RunningStores

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

_ROUNDS = 40
_KUBERNETES = "packaging/kubernetes"
# What is done before the first role starts, on a root and a database named by each line.
_COMPARE = """
import asyncio, sys
from novapulse.core.errors import Error
from novapulse.core.mongo import Database
from novapulse.core.settings import load
from novapulse.processes.same_keys import marks, require_same_keys
async def compare(root, name):
    loaded = load(root=root, environ={})
    db = Database(loaded.settings.mongo.uri, name, timeout_seconds=20, max_pool_size=2)
    try:
        await require_same_keys(db, loaded)
        return " ".join(marks(loaded).values())
    except Error as error:
        return f"refused: {error}"
    finally:
        await db.close()
print("ready", flush=True)
for line in sys.stdin:
    print(asyncio.run(compare(*line.split())), flush=True)
"""


@contextmanager
def comparer() -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", _COMPARE]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert told(process) == "ready"
            yield process
        finally:
            process.kill()


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def root_with(secrets: Path, root: Path, config: str) -> Path:
    state = root / "state"
    state.mkdir(mode=0o700, parents=True)
    (state / "secrets").symlink_to(secrets)
    (root / "config.toml").write_text(config)
    return root


def config_of(stores: RunningStores) -> str:
    return f'[mongo]\nuri = "{stores.mongo_uri}"\n\n[redis]\nurl = "{stores.redis_url}"\n'


def test_who_comes_first_at_once_agrees_on_the_keys(private_stores: RunningStores, tmp_path: Path):
    with ExitStack() as stack:
        both = [stack.enter_context(comparer()) for _ in range(2)]
        for number in range(_ROUNDS):
            secrets = tmp_path / f"secrets-{number}"
            secrets.mkdir(mode=0o700)
            for name, one in zip("ab", both, strict=True):
                root = root_with(secrets, tmp_path / f"{name}-{number}", config_of(private_stores))
                assert one.stdin is not None
                one.stdin.write(f"{root} first_{number}\n")
            for one in both:
                assert one.stdin is not None
                one.stdin.flush()
            first, second = map(told, both)
            assert first == second
            assert len(first.split()) == 3


def test_two_services_begin_an_installation_together(private_stores: RunningStores, tmp_path: Path):
    config = config_of(private_stores)
    (tmp_path / "secrets").mkdir(mode=0o700)
    with ExitStack() as stack:
        api, worker = (stack.enter_context(appliance_in_temporary_root(config)) for _ in range(2))
        for one in (api, worker):
            (one.root / "state").mkdir(mode=0o700)
            (one.root / "state" / "secrets").symlink_to(tmp_path / "secrets")
        worker.launch("--roles", "consumer,scheduler")
        api.start("--roles", "api")
        worker.wait_for(lambda: worker.cli("check", "ready").returncode == 0, seconds=START_SECONDS)
        assert api.found_company().get("/tasks").status == 200
        assert all(one.cli("keys", "check").returncode == 0 for one in (api, worker))
        assert [one.stop() for one in (api, worker)] == [0, 0]


def test_the_keys_that_are_made_for_kubernetes_are_those_of_every_pod(
    private_stores: RunningStores,
):
    """The commands of its page, then three pods; each copies what the secret holds first."""
    (script,) = blocks(f"{_KUBERNETES}/README.md", kind="keys")
    config = config_of(private_stores)
    with ExitStack() as stack:
        first = stack.enter_context(appliance_in_temporary_root())
        in_bash(script.replace("--root first", f"--root {first.root}"))
        pods = {
            name: (stack.enter_context(appliance_in_temporary_root(config)), *pod_of(name))
            for name in ("scheduler", "api", "worker")
        }
        for pod, copying, _ in pods.values():
            copied = copying.replace("/keys/", f"{first.root}/state/secrets/")
            in_bash(copied.replace("/var/lib/novapulse", f"{pod.root}/state"))
        for pod, _, roles in pods.values():
            pod.start("--roles", roles)
        # The token that was copied, from any of them.
        assert pods["api"][0].found_company().get("/tasks").status == 200
        assert all(pod.cli("keys", "check").returncode == 0 for pod, _, _ in pods.values())
        assert [pod.stop() for pod, _, _ in pods.values()] == [0, 0, 0]


def pod_of(name: str) -> tuple[str, str]:
    """What its init container runs, and its roles."""
    manifest = (Path(__file__).parents[3] / _KUBERNETES / f"{name}.yaml").read_text()
    (copying,) = re.findall(r'command: \[sh, -c, "(umask .+)"\]', manifest)
    (roles,) = re.findall(r'args: \[run, --roles, "(.+)"\]', manifest)
    return copying, roles


def in_bash(script: str) -> None:
    """With our program as `novapulse`."""
    done = subprocess.run(
        ["bash", "-euc", script],
        env={**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
