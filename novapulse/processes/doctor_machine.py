"""What the doctor looks at on the machine: files, disk, memory, clock, limits, neighbours."""

import ctypes
import os
import resource
import shutil
import socket
import stat
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from novapulse.core import health
from novapulse.core.settings import Loaded, Paths
from novapulse.processes.finding import Finding, bad, ok, skipped, warn

_MONGOD_FILES = 64_000
_FEWEST_FILES = 4_096
_CONNECT_SECONDS = 3.0
_TIME_ERROR = 5
_WIDEST_PREFIX = 8
# struct timex of adjtimex(2), larger than on any platform; all zeros asks and changes nothing.
_TIMEX_BYTES = 512


def files(paths: Paths, loaded: Loaded | None) -> Iterator[Finding]:
    """Owners and modes: what others may read or change."""
    for warning in loaded.warnings if loaded is not None else ():
        yield warn("configuration", warning, cause="", fix="novapulse config show --origin")
    for directory in (paths.state, paths.run, paths.log):
        if directory.exists():
            yield _directory(directory)
        else:
            yield skipped("directory", f"{directory} is not there: made at the first start")
    secrets = paths.state / "secrets"
    if os.access(secrets, os.R_OK | os.X_OK):
        yield from _secrets(secrets)


def _directory(directory: Path) -> Finding:
    facts = directory.stat()
    if facts.st_uid != os.geteuid():
        fix = f"run as that user, or: chown -R {os.geteuid()} {directory}"
        found = f"{directory} belongs to uid {facts.st_uid}"
        return bad("directory", found, cause="it was made by another user", fix=fix)
    if facts.st_mode & 0o022:
        found = f"others may write into {directory}"
        return bad("directory", found, cause=_mode(facts), fix=f"chmod go-w {directory}")
    if not os.access(directory, os.W_OK | os.X_OK):
        found = f"{directory} can not be written"
        return bad("directory", found, cause=_mode(facts), fix=f"chmod u+rwx {directory}")
    return ok("directory", f"{directory} is ours")


def _secrets(secrets: Path) -> Iterator[Finding]:
    open_ones = [path for path in secrets.iterdir() if path.stat().st_mode & 0o077]
    for path in open_ones:
        found = f"others may read {path}"
        yield bad("secret", found, cause=_mode(path.stat()), fix=f"chmod 600 {path}")
    if not open_ones:
        yield ok("secrets", f"{len(list(secrets.iterdir()))} files, ours alone")


def _mode(facts: os.stat_result) -> str:
    return f"its mode is {stat.S_IMODE(facts.st_mode):o}"


def disk(paths: Paths) -> Iterator[Finding]:
    """Room for the data and the logs."""
    for directory in {_existing(paths.state), _existing(paths.log)}:
        usage = shutil.disk_usage(directory)
        found = f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free at {directory}"
        if health.disk(directory)["status"] == "ok":
            yield ok("disk", found)
        else:
            fix = f"make room: du -xh --max-depth=2 {directory} | sort -h | tail"
            yield bad("disk", found, cause="under 5 % or 512 MiB are left", fix=fix)


def _existing(directory: Path) -> Path:
    return next(one for one in (directory, *directory.parents) if one.exists())


def memory() -> Iterator[Finding]:
    facts = health.memory()
    found = f"{facts['availableBytes'] / 2**20:.0f} MiB of memory available"
    if facts["status"] == "ok":
        yield ok("memory", found)
    else:
        fix = "ps -eo rss,comm --sort=-rss | head says who uses it; fewer processes need less"
        yield warn("memory", found, cause="less than 5 % is left", fix=fix)


def clock() -> Iterator[Finding]:
    """Tokens, codes of authenticator apps and signatures live by the clock."""
    if _is_synchronized():
        yield ok("clock", "it is kept right by the network")
    else:
        cause = "no time service sets it (ntpd, chrony, systemd-timesyncd, or the host)"
        fix = "timedatectl set-ntp true; a container has its host's clock"
        yield warn("clock", "the kernel does not know it to be right", cause=cause, fix=fix)


def _is_synchronized() -> bool:
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    return bool(ctypes.CDLL(None).adjtimex(buffer) not in (-1, _TIME_ERROR))


def time_zone() -> Iterator[Finding]:
    """Everything is stored and logged in UTC; the zone only matters for what people see."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name:
        yield ok("time zone", "the system's; logs and data are in UTC")
        return
    try:
        ZoneInfo(name)
        yield ok("time zone", f"{name}; logs and data are in UTC")
    except (ZoneInfoNotFoundError, ValueError):
        cause = "the variable TZ names no zone of this machine"
        yield warn("time zone", f"TZ={name} is unknown", cause=cause, fix="unset TZ, or TZ=UTC")


def open_files() -> Iterator[Finding]:
    # The program raises its own limit to the hard one when it starts.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"a process may open {most} files"
    fix = f"LimitNOFILE={_MONGOD_FILES} in the unit, or ulimit -n {_MONGOD_FILES} in a shell"
    if most < _FEWEST_FILES:
        yield bad("open files", found, cause="connections are files too", fix=fix)
    elif most < _MONGOD_FILES:
        cause = f"MongoDB recommends {_MONGOD_FILES}; it matters with thousands of connections"
        yield warn("open files", found, cause=cause, fix=fix)
    else:
        yield ok("open files", found)


def listening(loaded: Loaded, *, is_running: bool) -> Iterator[Finding]:
    """The address of the API: free, or ours."""
    address = loaded.settings.server.address
    if is_running or address.port == 0:
        where = loaded.settings.server.listen
        yield ok("port", f"{where} is ours" if is_running else "the system chooses one")
        return
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            found = f"{loaded.settings.server.listen} can not be listened on"
            fix = f"ss -ltnp 'sport = :{address.port}' says who does; or another server.listen"
            yield bad("port", found, cause=error.strerror or str(error), fix=fix)
            return
    yield ok("port", f"{loaded.settings.server.listen} is free")


def neighbours(loaded: Loaded) -> Iterable[Finding]:
    """Machines that the settings name."""
    settings = loaded.settings
    url = urlsplit(settings.webhooks.egress_proxy)
    yield _reached("proxy", (url.hostname or "", url.port or 3128), key="webhooks.egress_proxy")
    yield _believed(settings.server.trusted_proxies, settings.server.public_url)


def _believed(trusted: tuple[str, ...], public_url: str) -> Finding:
    """Whose word about a client's address counts."""
    name = "trusted proxies"
    wide = [one for one in trusted if ip_network(one, strict=False).prefixlen < _WIDEST_PREFIX]
    if wide:
        cause = "whoever sends X-Forwarded-For chooses the address that limits and the log see"
        fix = "name the proxies' own addresses in server.trusted_proxies"
        return bad(name, f"{', '.join(wide)} is nearly everybody", cause=cause, fix=fix)
    if public_url.startswith("https://") and not trusted:
        cause = "a proxy ends TLS in front of us, and its address is taken for every client's"
        fix = "name the proxy's address in server.trusted_proxies"
        return warn(name, "none, though public_url is https", cause=cause, fix=fix)
    return ok(name, ", ".join(trusted)) if trusted else skipped(name, "not configured")


def _reached(name: str, address: tuple[str, int], *, key: str) -> Finding:
    host, port = address
    if not host:
        return skipped(name, "not configured")
    try:
        socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        fix = f"correct {key}, or open the way to it in the firewall"
        return bad(name, f"{host}:{port} is not reached", cause=str(error), fix=fix)
    return ok(name, f"{host}:{port} takes connections")
