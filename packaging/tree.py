"""The files of an installation, put together in one directory.

novapulse _internal/     the program
stores/                  mongod and redis-server, mongod's libraries, their licences
systemd/ completion/     what install.sh puts into the system
samples/                 load balancers, monitoring
docs/                    the pages that alerts and messages name
sbom.cdx.json            what is inside, by version and licence
release.json             version, schema, oldest C library
manifest.sha256          every file above with its hash; stores/ has its own
"""

import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import bom
from fetch_stores import STORES
from store_libraries import libraries_of, oldest_glibc, packages_of

_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)
_SHELLS = {"bash": "novapulse.bash", "zsh": "_novapulse", "fish": "novapulse.fish"}
_SERVER_LICENCES = {
    "mongod": ("6.0.5", "SSPL-1.0"),
    "redis-server": ("6.2.14", "BSD-3-Clause"),
}


@dataclass(frozen=True, slots=True)
class Parts:
    """What a tree is made from."""

    checkout: Path
    source: Path
    frozen: Path
    version: str


def version_of(source: Path) -> str:
    found = _VERSION.search((source / "novapulse" / "__init__.py").read_text())
    if found is None:
        raise SystemExit("build: novapulse/__init__.py names no version")
    return found[1]


def source_of(checkout: Path, copy: Path) -> Path:
    """The packages that are built: a copy of them without what running them left there."""
    shutil.rmtree(copy, ignore_errors=True)
    for name in ("novapulse", "supervisor"):
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(checkout / name, copy / name, ignore=unwanted)
    return copy


def assemble(made: Path, parts: Parts, *, time: int) -> None:
    """Fill the new directory `made`."""
    shutil.copytree(parts.frozen, made)
    _add_distributions(made, parts)
    _add_papers(made, parts)
    _add_stores(made / "stores", parts.checkout)
    _write_boms(made, parts, time=time)
    release = {
        "version": parts.version,
        "schema": _schema(parts.source),
        "glibc": oldest_glibc(made),
        "python": platform.python_version(),
    }
    (made / "release.json").write_text(json.dumps(release, indent=1) + "\n")
    write_manifest(made / "stores")
    write_manifest(made, without=made / "stores")


def write_manifest(top: Path, *, without: Path | None = None) -> None:
    """`manifest.sha256` with all files below `top`; `sha256sum -c` reads it too."""
    manifest = top / "manifest.sha256"
    files = sorted(path for path in top.rglob("*") if path.is_file() and path != manifest)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(top)}\n"
        for path in files
        if without is None or without not in path.parents
    ]
    manifest.write_text("".join(lines))


def _add_distributions(made: Path, parts: Parts) -> None:
    """Each library's name, version and licence, where the program itself can ask for them."""
    for one in _distributions(parts):
        name = f"{one.name.replace('-', '_')}-{one.version}.dist-info"
        directory = made / "_internal" / name
        directory.mkdir(exist_ok=True)
        (directory / "METADATA").write_text(one.read_text("METADATA") or "")
        for file in one.files or ():
            inside = file.parts[0].endswith(".dist-info") and len(file.parts) > 1
            if inside and re.match(r"(?i)licen[cs]e|copying|notice|authors", file.name):
                shutil.copyfile(str(file.locate()), directory / file.name)


def _distributions(parts: Parts) -> list[metadata.Distribution]:
    checkout = parts.checkout
    return bom.distributions_of(checkout / "pyproject.toml", checkout / "requirements-build.lock")


def _add_papers(made: Path, parts: Parts) -> None:
    checkout = parts.checkout
    for name in ("LICENSE", "README.md", "config.toml.example"):
        shutil.copyfile(checkout / name, made / name)
    shutil.copytree(checkout / "docs", made / "docs")
    _copy_program(checkout / "packaging" / "install.sh", made / "install.sh")
    shutil.copytree(checkout / "systemd", made / "systemd")
    for name in ("proxies", "monitoring"):
        samples = checkout / "packaging" / name
        if samples.is_dir():
            shutil.copytree(samples, made / "samples" / name)
    completion = made / "completion"
    completion.mkdir()
    for shell, name in _SHELLS.items():
        command = [str(made / "novapulse"), "completion", shell]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        (completion / name).write_text(said.stdout)


def _add_stores(stores: Path, checkout: Path) -> None:
    fetched = checkout / ".stores"
    for store in STORES:
        _copy_program(fetched / "bin" / store.program, stores / "bin" / store.program)
        papers = fetched / "licenses" / f"{store.program}.txt"
        _copy(papers, stores / "licenses" / papers.name)
    libraries = libraries_of(fetched / "bin" / "mongod")
    for name, path in sorted(libraries.items()):
        _copy(path, stores / "lib" / name)
    for package in packages_of(list(libraries.values())):
        if package.copyright.is_file():
            _copy(package.copyright, stores / "licenses" / f"{package.name}.txt")


def _write_boms(made: Path, parts: Parts, *, time: int) -> None:
    subject = bom.program("novapulse", parts.version, licence="MIT")
    components = [bom.library(one) for one in _distributions(parts)]
    components.append(bom.program("cpython", platform.python_version(), licence="PSF-2.0"))
    installer = metadata.distribution("pyinstaller")
    components.append(bom.library(installer))  # its bootloader starts the program
    bundled = (made / "_internal").glob("lib*.so.*")
    components += _packaged(bundled)
    (made / "sbom.cdx.json").write_text(bom.render(subject, components, time=time))

    stores = made / "stores"
    subject = bom.program("novapulse-stores", parts.version, licence="SSPL-1.0")
    components = _packaged((stores / "lib").iterdir(), real=parts.checkout / ".stores/bin/mongod")
    for store in STORES:
        version, licence = _SERVER_LICENCES[store.program]
        sha256 = store.program_sha256
        components.append(bom.program(store.program, version, licence=licence, sha256=sha256))
    (stores / "sbom.cdx.json").write_text(bom.render(subject, components, time=time))


def _packaged(files: Iterable[Path], *, real: Path | None = None) -> list[dict[str, Any]]:
    """Components of libraries that are copies of the distribution's."""
    found = list(libraries_of(real).values()) if real else list(files)
    return [bom.debian(package.name, package.version) for package in packages_of(found)]


def _schema(source: Path) -> int:
    """The number of the newest migration, as the source says it."""
    code = "from novapulse.migrations.order import MIGRATIONS; print(len(MIGRATIONS))"
    command = [sys.executable, "-B", "-c", code]
    said = subprocess.run(command, cwd=source, stdout=subprocess.PIPE, check=True)
    return int(said.stdout)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _copy_program(source: Path, target: Path) -> None:
    _copy(source, target)
    target.chmod(0o755)
