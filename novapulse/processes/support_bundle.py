"""`novapulse support bundle`: what a report needs, in one file without secrets.

Nothing is copied as it is: settings come through their redaction, and every text then
loses all that looks like a secret and all that is known to be one.
"""

import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from novapulse import __version__
from novapulse.core.errors import ConfigurationInvalid, Conflict, Error, Unavailable
from novapulse.core.settings import Loaded, Paths
from novapulse.core.settings.redact import shown
from novapulse.core.settings.render import toml_value
from novapulse.core.settings.tree import DECLARATIONS, values_of
from novapulse.processes.doctor import examine
from novapulse.processes.gauges import FILE_NAME
from novapulse.processes.logfiles import LogFiles
from novapulse.processes.status import read_status

_LINES = 1_000
_SHORTEST_SECRET = 8
_JOURNAL_SECONDS = 20.0
_REDACTED = "[redacted]"
# Tokens by their looks, and what stands between the name and the @ of a URL.
_LOOKS_SECRET = re.compile(
    r"(whsec_|nvp_|nps_)[A-Za-z0-9+/=_-]+|eyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=://)[^/\s@\"']+(?=@)"
)
_README = """\
What novapulse support bundle collected. Passwords, keys and tokens were left out or replaced
by [redacted]. Log lines may name addresses, users and companies by their ids.
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A new file, open and readable by its owner alone; `name` is of the directory in it."""

    name: str
    path: Path
    file: BinaryIO


@contextmanager
def new_bundle(output: Path | None) -> Iterator[Bundle]:
    """At `output`, or named by the time in this directory. Raises Conflict, Unavailable."""
    name = time.strftime("novapulse-support-%Y%m%d-%H%M%S", time.gmtime())
    path = (output or Path(f"{name}.tar.gz")).absolute()
    with os.fdopen(_create(path), "wb") as file:
        try:
            yield Bundle(name, path, file)
        except BaseException:
            with suppress(OSError):  # of root's, once we are not root any more
                path.unlink()
            raise


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise Conflict(f"{path} is there already") from error
    except OSError as error:
        raise Unavailable(f"{path} can not be written: {error.strerror}") from error


def write_bundle(load: Callable[[], Loaded], paths: Paths, bundle: Bundle) -> None:
    """Collect and pack."""
    secrets = _known_secrets(load, paths)
    with tarfile.open(fileobj=bundle.file, mode="w:gz") as archive:
        for name, text in _collect(load, paths):
            data = redact(text, secrets).encode()
            member = tarfile.TarInfo(f"{bundle.name}/{name}")
            member.size, member.mtime, member.mode = len(data), int(time.time()), 0o600
            archive.addfile(member, io.BytesIO(data))


def redact(text: str, secrets: list[str]) -> str:
    """`text` without what looks like a secret, and without those that are known."""
    text = _LOOKS_SECRET.sub(_REDACTED, text)
    for secret in secrets:
        text = text.replace(secret, _REDACTED)
    return text


def _collect(load: Callable[[], Loaded], paths: Paths) -> Iterator[tuple[str, str]]:
    yield "README.txt", _README
    yield "versions.json", _json(_versions())
    yield "config.txt", _settings_text(load)
    yield "status.json", _json(_tolerant(lambda: read_status(paths)))
    findings = _tolerant(lambda: {"findings": [f.as_document() for f in examine(load, paths)]})
    yield "doctor.json", _json(findings)
    metrics = paths.run / FILE_NAME
    if metrics.exists():
        yield "supervisor.prom", metrics.read_text(encoding="utf-8")
    files = LogFiles(paths.log)
    for name in files.names():
        lines = files.read([name], limit=_LINES)
        yield f"logs/{name}.log", "".join(f"{line.text}\n" for line in lines)
    if not files.names():
        yield "logs/journal.log", _journal()


def _settings_text(load: Callable[[], Loaded]) -> str:
    try:
        loaded = load()
    except ConfigurationInvalid as error:
        return f"not usable: {error.detail}\n"
    lines = [
        f"{name} = {toml_value(shown(DECLARATIONS[name], value))}  # {loaded.origins[name]}"
        for name, value in values_of(loaded.settings).items()
    ]
    return "\n".join([*lines, *(f"# warning: {text}" for text in loaded.warnings)]) + "\n"


def _versions() -> dict[str, Any]:
    libraries = ("hypercorn", "starlette", "pymongo", "redis", "huey", "msgspec", "aiohttp")
    return {
        "novapulse": __version__,
        "python": sys.version,
        "system": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "libc": "-".join(platform.libc_ver()),
        "libraries": {name: _version_of(name) for name in libraries},
    }


def _version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # a frozen program carries no metadata
        return "unknown"


def _journal() -> str:
    journalctl = shutil.which("journalctl")
    if journalctl is None:
        return "there are no log files and no journal\n"
    command = [journalctl, "-u", "novapulse", "-n", str(_LINES), "-o", "cat", "--no-pager"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_JOURNAL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the journal can not be read: {error}\n"
    return done.stdout or done.stderr


def _tolerant(read: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return read()
    except Error as error:
        return {"error": error.detail}


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n"


def _known_secrets(load: Callable[[], Loaded], paths: Paths) -> list[str]:
    """Everything that this installation keeps secret, the longest first."""
    found: set[str] = set()
    directory = paths.state / "secrets"
    for file in directory.iterdir() if os.access(directory, os.R_OK | os.X_OK) else ():
        found |= _secrets_in(file)
    try:
        found |= _secrets_of(load())
    except ConfigurationInvalid:
        pass  # then the values do not get into the bundle either
    return sorted((one for one in found if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)


def _secrets_in(file: Path) -> set[str]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return set()
    return {text, *text.splitlines(), *re.findall(r'"([A-Za-z0-9+/=_-]{16,})"', text)}


def _secrets_of(loaded: Loaded) -> set[str]:
    found = {(loaded.jwt_access_secret or b"").decode(errors="replace")}
    for name, value in values_of(loaded.settings).items():
        if isinstance(value, str) and DECLARATIONS[name].key.secret and "://" in value:
            password = urlsplit(value).password or ""
            found |= {value, password, unquote(password)}
        if isinstance(value, str) and name.endswith("_file") and value:
            found |= _secrets_in(Path(value))
    return found
