"""The shared libraries of mongod beyond the C library's own, and the packages they are from."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# They belong to the running kernel and C library: another one's would not even load.
_GLIBC = re.compile(r"^(linux-vdso|ld-linux|lib(c|m|dl|rt|pthread|resolv|util|anl)\.so)")
_RESOLVED = re.compile(r"^\s*(\S+) => (/\S+) \(0x", re.MULTILINE)
_NEEDED_GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Package:
    """A package of the distribution that this is built on."""

    name: str
    version: str
    copyright: Path


def libraries_of(program: Path) -> dict[str, Path]:
    """Name → file of every library that `program` loads, those of the C library left out."""
    said = _run("ldd", str(program))
    if "not found" in said:
        raise SystemExit(f"build: a library of {program.name} is missing here:\n{said}")
    return {
        name: Path(path).resolve()
        for name, path in _RESOLVED.findall(said)
        if not _GLIBC.match(name)
    }


def packages_of(libraries: list[Path]) -> list[Package]:
    """The Debian packages that own these files; none where there is no dpkg."""
    found = set()
    for library in libraries:
        try:
            owner = _run("dpkg-query", "--search", f"*/{library.name}").split(":")[0]
            version = _run("dpkg-query", "--show", "--showformat=${Version}\n", owner)
        except (OSError, subprocess.CalledProcessError):
            continue
        found.add((owner, version.splitlines()[0]))
    doc = Path("/usr/share/doc")
    return [Package(name, version, doc / name / "copyright") for name, version in sorted(found)]


def oldest_glibc(tree: Path) -> str:
    """The release of the C library that has every symbol that a program below `tree` asks for."""
    needed = (0, 0)
    for path in sorted(tree.rglob("*")):
        if path.is_file() and path.open("rb").read(4) == b"\x7fELF":
            said = _run("objdump", "--private-headers", str(path))
            found = [(int(major), int(minor)) for major, minor in _NEEDED_GLIBC.findall(said)]
            needed = max([needed, *found])
    return f"{needed[0]}.{needed[1]}"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout
