"""Build what is handed out: two archives, a Debian package, bills of materials, checksums.

    .build/venv/bin/python packaging/build.py [--dest dist]

The same commit gives the same bytes. `packaging/tree.py` says what is inside.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import archives
import debian
import tree
from relabel import relabelled

CHECKOUT = Path(__file__).resolve().parent.parent
_BEFORE_ANY_COMMIT = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Build:
    """Where it works, and what it is about."""

    version: str
    time: int
    work: Path
    dest: Path
    xz: Callable[[Iterable[bytes]], bytes]

    @property
    def name(self) -> str:
        return f"novapulse-{self.version}-linux-x86_64"


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the archives and the Debian package.")
    parser.add_argument("--dest", type=Path, default=CHECKOUT / "dist")
    parser.add_argument("--work", type=Path, default=CHECKOUT / ".build")
    cache = CHECKOUT / ".build" / "compressed"
    parser.add_argument("--cache", type=Path, default=cache, help="keeps what was compressed")
    parser.add_argument("--time", type=int, default=commit_time(), help="date of every file")
    parser.add_argument("--preset", type=int, default=archives.PRESET, help="how hard xz works")
    parser.add_argument("--only-tree", action="store_true", help="stop before packing")
    parser.add_argument("--only-pack", type=Path, metavar="TREE", help="pack what was built")
    parser.add_argument("--version", default="", help="with --only-pack: call it so")
    given = parser.parse_args()
    work = given.work.resolve()
    source = tree.source_of(CHECKOUT, work / "source")
    build = Build(
        given.version or tree.version_of(source),
        time=given.time,
        work=work,
        dest=given.dest.resolve(),
        xz=archives.Compressor(given.cache.resolve(), preset=given.preset).xz,
    )
    made = work / "tree"
    if given.only_pack is None:
        make_tree(build, source, made)
    elif given.version:
        relabelled(given.only_pack, made, given.version)
    else:
        made = given.only_pack.resolve()
    if not given.only_tree:
        pack(build, made)


def make_tree(build: Build, source: Path, made: Path) -> None:
    say(f"Building {build.name} …")
    shutil.rmtree(made, ignore_errors=True)
    frozen = freeze(build, source)
    tree.assemble(made, tree.Parts(CHECKOUT, source, frozen, build.version), time=build.time)


def freeze(build: Build, source: Path) -> Path:
    """PyInstaller's directory of the program."""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SOURCE_DATE_EPOCH": str(build.time),
        "NOVAPULSE_SOURCE": str(source),
        # The archives are compressed as a whole; what is not by itself packs and starts better.
        "PYINSTALLER_ZLIB_COMPRESSION_LEVEL": "0",
        "PYINSTALLER_CONFIG_DIR": str(build.work / "cache"),
    }
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--clean", "--log-level=ERROR"]
    command += ["--distpath", str(build.work / "frozen"), "--workpath", str(build.work / "work")]
    command += [str(CHECKOUT / "packaging" / "novapulse.spec")]
    subprocess.run(command, env=environment, check=True)
    return build.work / "frozen" / "novapulse"


def pack(build: Build, made: Path) -> None:
    """Write everything into `dest`, and the checksums of it."""
    build.dest.mkdir(parents=True, exist_ok=True)
    stores = made / "stores"
    own = [path for path in made.rglob("*") if path.is_file() and stores not in path.parents]
    brought = [path for path in stores.rglob("*") if path.is_file()]

    def tar(files: list[Path]) -> list[bytes]:
        return archives.tar_of(made, prefix=f"{build.name}/", time=build.time, only=files)

    program = tar(own)
    end = archives.END_OF_TAR
    products = {
        f"{build.name}.tar.xz": build.xz([*program, end]),
        f"{build.name}-with-stores.tar.xz": build.xz([*program, *tar(brought), end]),
        f"novapulse_{build.version}_amd64.deb": debian.package(
            debian.layout(made, CHECKOUT, version=build.version, work=build.work / "deb"),
            build.xz,
            time=build.time,
        ),
        f"{build.name}.cdx.json": (made / "sbom.cdx.json").read_bytes(),
        f"{build.name}-stores.cdx.json": (stores / "sbom.cdx.json").read_bytes(),
    }
    sums = []
    for name, content in sorted(products.items()):
        (build.dest / name).write_bytes(content)
        sums.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
        say(f"  {len(content) / 1e6:6.1f} MB  {name}")
    (build.dest / "SHA256SUMS").write_text("".join(sums))


def commit_time() -> int:
    """When the commit that is built was made; outside of a repository a date that never changes."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(CHECKOUT), "log", "-1", "--format=%ct"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return _BEFORE_ANY_COMMIT
    return int(done.stdout)


def say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
