"""Software bills of materials (CycloneDX 1.5): what is in a package, by version and licence."""

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Component = dict[str, Any]


def distributions_of(project: Path, lock: Path) -> list[metadata.Distribution]:
    """Every library that the program needs, as installed here; the lock must pin each of them.

    `project` is pyproject.toml. What is only needed for building is not among them.
    """
    import tomllib

    wanted = tomllib.loads(project.read_text())["project"]["dependencies"]
    found: dict[str, metadata.Distribution] = {}
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        one = found.get(name) or metadata.distribution(requirement.name)
        if name in found and not requirement.extras:
            continue
        found[name] = one
        waiting += _needed(one, requirement.extras)
    _compare(found.values(), lock)
    return [found[name] for name in sorted(found)]


def _needed(one: metadata.Distribution, extras: Iterable[str]) -> list[Requirement]:
    chosen = ["", *extras]
    requirements = [Requirement(text) for text in one.requires or ()]
    return [
        requirement
        for requirement in requirements
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": extra}) for extra in chosen)
    ]


def _compare(found: Iterable[metadata.Distribution], lock: Path) -> None:
    pins = set(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", lock.read_text(), re.MULTILINE))
    for one in found:
        if (canonicalize_name(one.name), one.version) not in pins:
            raise SystemExit(f"build: {one.name} {one.version} is not what {lock.name} pins")


def library(one: metadata.Distribution) -> Component:
    """The component of a Python distribution."""
    name = canonicalize_name(one.name)
    fields = one.metadata.json
    component: Component = {
        "type": "library",
        "name": name,
        "version": one.version,
        "purl": f"pkg:pypi/{name}@{one.version}",
    }
    licence = fields.get("license_expression") or _classified(fields.get("classifier", ()))
    if licence:
        component["licenses"] = [{"license": {"name": licence}}]
    return component


def _classified(classifiers: Iterable[str]) -> str:
    named = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License ::")]
    return named[0] if named else ""


def debian(name: str, version: str) -> Component:
    """The component of a library that was taken from a Debian package."""
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:deb/debian/{name}@{version}?arch=amd64",
    }


def program(name: str, version: str, *, licence: str, sha256: str = "") -> Component:
    """The component of a whole program, such as mongod or the Python interpreter."""
    component: Component = {
        "type": "application",
        "name": name,
        "version": version,
        "licenses": [{"license": {"name": licence}}],
    }
    if sha256:
        component["hashes"] = [{"alg": "SHA-256", "content": sha256}]
    return component


def render(subject: Mapping[str, Any], components: Iterable[Component], *, time: int) -> str:
    """The document; the same for the same content."""
    parts = sorted(components, key=lambda one: (one["name"], one["version"]))
    for one in parts:
        one["bom-ref"] = one.get("purl", f"{one['name']}@{one['version']}")
    told = json.dumps([subject, parts], sort_keys=True).encode()
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.UUID(hashlib.sha256(told).hexdigest()[:32])}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": subject,
        },
        "components": parts,
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"
