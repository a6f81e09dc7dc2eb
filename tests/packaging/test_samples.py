"""The files for containers, Kubernetes and load balancers, against schemas and the program."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from novapulse.cli.program import program
from novapulse.core.settings.tree import DECLARATIONS
from novapulse.processes.roles import Roles
from tests.packaging.conftest import CHECKOUT

TOOLS = CHECKOUT / ".build" / "samples" / "bin"
CONTAINER = CHECKOUT / "packaging" / "container"
KUBERNETES = CHECKOUT / "packaging" / "kubernetes"
PROXIES = CHECKOUT / "packaging" / "proxies"
MANIFESTS = ("api", "worker", "scheduler", "config")
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def tool(name: str) -> str:
    """A linter of the environment that `make test-packages` makes, or of this machine."""
    found = TOOLS / name
    path = str(found) if found.is_file() else shutil.which(name)
    if path is None:
        pytest.skip(f"NOT TESTED: {name} is not here (make test-packages brings or names it)")
    return path


def passes(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def documents(path: Path) -> list[dict[str, Any]]:
    script = (
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))"
    )
    found: list[dict[str, Any]] = json.loads(passes(tool("python"), "-c", script, str(path)))
    return found


def of_kind(kind: str) -> Iterator[dict[str, Any]]:
    for name in MANIFESTS:
        yield from (one for one in documents(KUBERNETES / f"{name}.yaml") if one["kind"] == kind)


def container_of(deployment: dict[str, Any]) -> dict[str, Any]:
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    one: dict[str, Any] = found
    return one


def test_the_container_file_is_clean():
    passes(tool("hadolint"), str(CONTAINER / "Containerfile"))


def test_the_compose_file_has_the_shape_of_one():
    checker = tool("check-jsonschema")
    passes(checker, "--builtin-schema", "vendor.compose-spec", str(CONTAINER / "compose.yaml"))


def test_what_the_container_file_copies_is_built():
    """Else the image could not be made; the tree is what `make build` leaves."""
    text = (CONTAINER / "Containerfile").read_text().replace("\\\n", " ")
    named = set(re.findall(r"(?<=\s)tree/([\w.-]+)", text))
    tree = CHECKOUT / ".build" / "tree"
    if not tree.is_dir():
        pytest.skip("NOT TESTED: nothing was built (make build)")
    present = {path.name for path in tree.iterdir()}
    assert named == present - {"stores"}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_are_valid_against_the_schemas_of_kubernetes(name: str):
    said = passes(tool("kubernetes-validate"), "--strict", str(KUBERNETES / f"{name}.yaml"))
    assert "passed" in said


def test_all_manifests_are_named_in_the_kustomization():
    (one,) = documents(KUBERNETES / "kustomization.yaml")
    assert one["resources"] == ["config.yaml", "api.yaml", "worker.yaml", "scheduler.yaml"]


def test_roles_verbs_and_variables_are_those_of_the_program():
    covered = set()
    for deployment in of_kind("Deployment"):
        container = container_of(deployment)
        verb, flag, roles = container["args"]
        assert (verb, flag) == ("run", "--roles")
        covered |= Roles.parse(roles).names or set()
        for name in _PROBES:
            check_probe(container[name])
        for variable in container["env"]:
            section, key = variable["name"].removeprefix("NOVAPULSE__").lower().split("__")
            assert f"{section}.{key}" in DECLARATIONS
    assert covered == {"api", "consumer", "scheduler"}


def check_probe(probe: dict[str, Any]) -> None:
    """A verb that exists, or a path that the API has, on the port that it listens on."""
    if "exec" in probe:
        name, *words = probe["exec"]["command"]
        assert name == "novapulse"
        done = CliRunner().invoke(program, [*words, "--help"])
        assert done.exit_code == 0
        assert words[1] in ("live", "ready", "stores")
    else:
        page = (CHECKOUT / "docs" / "reference" / "api.md").read_text()
        assert probe["httpGet"]["port"] == "http"
        assert f"`{probe['httpGet']['path'].removeprefix('/api/v1')}`" in page


def test_ports_and_the_time_to_stop_fit_the_settings():
    (config,) = of_kind("ConfigMap")
    assert 'listen = "0.0.0.0:5000"' in config["data"]["config.toml"]
    drain = float(str(DECLARATIONS["server.drain_seconds"].default))
    for deployment in of_kind("Deployment"):
        ports = container_of(deployment).get("ports", [])
        assert [port["containerPort"] for port in ports] in ([], [5000])
        # API and consumers drain one after the other, each with a second more.
        grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace > 2 * (drain + 1) + 5


def test_nginx_accepts_its_sample(tmp_path: Path):
    nginx = tool("nginx")
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{ access_log off; include {PROXIES / 'nginx.conf'}; }}\n"
    )
    passes(nginx, "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"))


def test_haproxy_accepts_its_sample():
    passes(tool("haproxy"), "-c", "-f", str(PROXIES / "haproxy.cfg"))
