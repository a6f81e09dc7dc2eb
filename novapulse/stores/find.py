"""Where mongod and redis-server are, and whether they run on this machine."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import novapulse
from novapulse.core.errors import Unavailable

Program = Literal["mongod", "redis-server"]

# The oldest releases with all that we ask of them.
_OLDEST: dict[Program, tuple[int, int]] = {"mongod": (6, 0), "redis-server": (6, 2)}
_PRODUCTS: dict[Program, str] = {"mongod": "MongoDB", "redis-server": "Redis"}
_DIRECTORIES = (".stores", "stores")
_PARENTS_OF_FROZEN = 3
_VERSION_SECONDS = 20.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_LOADER = re.compile(r"error while loading shared libraries: ([^\s:]+):")
_GLIBC = re.compile(r"version `(GLIBC\w*_[0-9.]+)' not found")
_VERSION = re.compile(r"\bv=?(\d+)\.(\d+)[0-9.]*")
# Debian's and Ubuntu's packages for what mongod is linked to.
_PACKAGES = {
    "libcurl.so.4": "libcurl4",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "liblzma.so.5": "liblzma5",
}


class StoreUnusable(Unavailable):
    """A store's program can not be started here; `hint` says what to try, `where` what is meant."""

    title = "A store can not be started on this machine"

    def __init__(self, detail: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(detail)
        self.where = where
        self.hint = hint


class StoreMissing(StoreUnusable):
    """A store's program is not installed."""

    title = "A store is not installed"


def find_store(name: Program, configured: str = "") -> Path:
    """The program's absolute path: as configured, else on PATH, else with the installation.

    Raises:
        StoreMissing: in none of these places, or not where it was configured.
    """
    if configured:
        if not _is_program(Path(configured)):
            raise StoreMissing(
                f"{configured} is not a program that can be run",
                where=f"the configured path of {name}",
                hint=f"correct the path, or leave it empty to have {name} looked for",
            )
        return Path(configured).absolute()
    if on_path := shutil.which(name):
        return Path(on_path).absolute()
    for directory in _directories():
        if _is_program(directory / name):
            return directory / name
    if is_frozen := getattr(sys, "frozen", False):
        shipped = Path(sys.executable).resolve().parent / "stores" / "bin"
    else:
        shipped = _checkout() / _DIRECTORIES[0] / "bin"
    source = "take the archive with the stores" if is_frozen else "run `make setup` in a checkout"
    raise StoreMissing(
        f"{name} is not installed",
        where=f"PATH and {shipped}",
        hint=f"{source}, or install {_requirement(name)}",
    )


def check_runs(program: Path, name: Program) -> str:
    """Its version, such as `6.0.5`, from running `--version`.

    Raises:
        StoreUnusable: it does not start, is too old, or a library is missing; the detail
            names the Debian package that brings it.
    """
    try:
        done = subprocess.run(
            [program, "--version"],
            env=clean_environment(find_libraries(program)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StoreUnusable(f"{program} does not start: {error}", where=str(program)) from error
    if done.returncode != 0:
        raise _explain(program, code=done.returncode, said=done.stderr.strip() or done.stdout)
    version = _VERSION.search(done.stdout)
    if version is None:
        raise StoreUnusable(f"{program} is not a {name}", where=str(program))
    if (int(version[1]), int(version[2])) < _OLDEST[name]:
        raise StoreUnusable(
            f"{program} is too old: {version[0]}",
            where=str(program),
            hint=f"install {_requirement(name)}",
        )
    return version[0].removeprefix("v").removeprefix("=")


def clean_environment(libraries: Path | None = None) -> dict[str, str]:
    """All that a store inherits: nothing of ours.

    A frozen program's LD_LIBRARY_PATH would make mongod load our OpenSSL, and
    NOTIFY_SOCKET is for the main process alone. `libraries` is mongod's own path.
    """
    environment = {"PATH": _PATH, "LANG": "C.UTF-8", "TZ": "UTC"}
    if libraries is not None:
        environment["LD_LIBRARY_PATH"] = str(libraries)
    return environment


def find_libraries(program: Path) -> Path | None:
    """The `lib` directory that was shipped beside the `bin` of this program, if any."""
    libraries = program.resolve().parent.with_name("lib")
    is_shipped = libraries.parent.name in _DIRECTORIES and libraries.is_dir()
    return libraries if is_shipped and program.name == "mongod" else None


def _directories() -> Iterator[Path]:
    """`bin` directories of the checkout, the virtual environment and a frozen installation."""
    prefixes = [_checkout(), Path(sys.prefix)]
    if getattr(sys, "frozen", False):
        prefixes += Path(sys.executable).resolve().parents[:_PARENTS_OF_FROZEN]
    for prefix in prefixes:
        for directory in _DIRECTORIES:
            yield prefix / directory / "bin"


def _checkout() -> Path:
    """The parent of the package; in a frozen program the bundle's directory."""
    return Path(novapulse.__file__).resolve().parent.parent


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _requirement(name: Program) -> str:
    major, minor = _OLDEST[name]
    return f"{_PRODUCTS[name]} {major}.{minor} or newer"


def _explain(program: Path, *, code: int, said: str) -> StoreUnusable:
    where = str(program)
    if missing := _LOADER.search(said):
        library = missing[1]
        package = _PACKAGES.get(library)
        hint = f"apt-get install {package}" if package else f"install the package with {library}"
        named = f" (package {package})" if package else ""
        return StoreUnusable(
            f"{program.name} needs the library {library}{named}", where=where, hint=hint
        )
    if newer := _GLIBC.search(said):
        return StoreUnusable(
            f"{program.name} needs a newer C library: {newer[1]}",
            where=where,
            hint="use a newer release of the operating system",
        )
    if code == -signal.SIGILL:
        return StoreUnusable(
            f"{program.name} uses instructions that this CPU lacks (MongoDB needs AVX)",
            where=where,
            hint="let the virtual machine show the host's CPU, or use an external MongoDB",
        )
    last = said.splitlines()[-1] if said else "it said nothing"
    return StoreUnusable(f"{program.name} does not run (exit {code}): {last}", where=where)
