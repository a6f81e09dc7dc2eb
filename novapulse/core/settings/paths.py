"""Where the program keeps its files, and where its sockets fit."""

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from novapulse.core.errors import ConfigurationInvalid

# sun_path holds 107 bytes; some room is left for names that libraries append.
_LONGEST_SOCKET_PATH = 100
_SHARED = "/tmp"  # noqa: S108 - what is made there is private, and checked to be
# Every socket of the program has a name of at most so many bytes (mongodb.sock, control.sock, …).
LONGEST_SOCKET_NAME = 20


class Paths(msgspec.Struct, frozen=True, kw_only=True):
    """All absolute; only `config_file` may be missing."""

    config_file: Path
    state: Path
    run: Path
    log: Path


def check_path(text: str) -> str:
    """Nothing, or an absolute path."""
    if text and not Path(text).is_absolute():
        raise ValueError(f"{text!r} is not an absolute path")
    return text


def find_paths(
    root: str | Path | None, config: str | Path | None, environ: Mapping[str, str]
) -> tuple[Paths, bool]:
    """The paths, and whether the configuration file was asked for by name and must exist.

    A root holds everything and looks nowhere else. Without one systemd's
    directories win over the system's own.
    """
    if root is not None:
        if config is not None:
            raise ConfigurationInvalid(
                "a root has its own config.toml: --root and --config exclude each other",
                where="flags --root and --config",
                hint="leave one of them out",
            )
        top = Path(root).resolve()
        files = Paths(
            config_file=top / "config.toml", state=top / "state", run=top / "run", log=top / "log"
        )
        return files, False
    named = config or environ.get("NOVAPULSE_CONFIG")
    return (
        Paths(
            config_file=Path(named or "/etc/novapulse/config.toml").absolute(),
            state=_directory(environ, "STATE_DIRECTORY", "/var/lib/novapulse"),
            run=_directory(environ, "RUNTIME_DIRECTORY", "/run/novapulse"),
            log=_directory(environ, "LOGS_DIRECTORY", "/var/log/novapulse"),
        ),
        bool(named),
    )


def _directory(environ: Mapping[str, str], name: str, fallback: str) -> Path:
    """systemd puts several directories into one variable, the unit's first one first."""
    first = environ.get(name, "").partition(":")[0]
    return Path(first if first.startswith("/") else fallback)


def socket_dir(run: Path, *, environ: Mapping[str, str] = os.environ) -> Path:
    """The directory of the unix sockets: `run`, or a private one when that path is too long.

    The other directory's name follows from `run`, and one that exists already
    is found again from a shell with another environment. It is made here, 0700.

    Raises:
        ConfigurationInvalid: it is there, but others own it or can reach into it.
    """
    if len(os.fsencode(run)) + 1 + LONGEST_SOCKET_NAME <= _LONGEST_SOCKET_PATH:
        return run
    name = "novapulse-" + hashlib.sha256(os.fsencode(run)).hexdigest()[:16]
    session = environ.get("XDG_RUNTIME_DIR", "")
    usual = f"/run/user/{os.geteuid()}"
    candidates = [Path(top) / name for top in (session, usual, _SHARED) if _is_usable(top)]
    existing = next((place for place in candidates if os.path.lexists(place)), None)
    chosen = existing or Path(session if _is_usable(session) else _SHARED) / name
    return _private(chosen, because_of=run)


def _is_usable(top: str) -> bool:
    """Whether the sockets of a directory below `top` fit, and we may write there."""
    is_short = len(os.fsencode(top)) <= _LONGEST_SOCKET_PATH - LONGEST_SOCKET_NAME - 30
    return top.startswith("/") and is_short and os.access(top, os.W_OK | os.X_OK)


def _private(place: Path, *, because_of: Path) -> Path:
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationInvalid(
            f"{place} can not be made: {error.strerror}",
            where=f"{because_of} is too long for unix sockets",
            hint="use a shorter --root",
        ) from error
    facts = place.lstat()
    is_ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid()
    if not is_ours or facts.st_mode & 0o077:
        raise ConfigurationInvalid(
            f"{place} is not a directory of this user alone (0700)",
            where=f"{because_of} is too long for unix sockets",
            hint=f"use a shorter --root, or remove {place} if it is yours",
        )
    return place
