"""`novapulse run`: from settings to a running supervisor.

Everything that can be wrong is found out here, before the first process starts:
configuration, a second instance, missing programs, an address that is taken.
"""

import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from novapulse import __version__
from novapulse.core import errors
from novapulse.core.settings import Loaded, write_handoff
from novapulse.processes import places
from novapulse.processes.logsink import open_sink
from novapulse.processes.specs import build_specs
from novapulse.stores.find import check_runs, find_store
from novapulse.stores.layout import prepare_layout
from supervisor.listeners import bind_tcp
from supervisor.lock import AlreadyRunning, InstanceLock
from supervisor.loop import Supervisor
from supervisor.report import json_line, plain_line

Say = Callable[[str], None]


class AddressTaken(errors.Unavailable):
    """Somebody else listens where we are told to."""

    code = "address_taken"


def run(load: Callable[[], Loaded], *, files_below: Path | None, say: Say) -> int:
    """Run the appliance in the foreground until it is stopped; the exit code.

    Raises:
        ConfigurationInvalid, AlreadyRunning, AddressTaken, Unavailable: nothing was started.
    """
    if files_below is not None:
        make_root(files_below)
    loaded = load()
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    _make_directories(loaded)
    lock = InstanceLock(loaded.paths.state / "lock")
    try:
        lock.acquire()
    except AlreadyRunning as error:
        raise errors.AlreadyRunning(f"NovaPulse is already running here: {error}") from error
    try:
        return _run_locked(loaded, lock, keeps_files=files_below is not None, say=say)
    finally:
        lock.release()


def _run_locked(loaded: Loaded, lock: InstanceLock, *, keeps_files: bool, say: Say) -> int:
    _prepare_stores(loaded)
    with _bind(loaded) as listener:
        bound = _with_address(loaded, listener)
        handoff = loaded.paths.run / "settings.json"
        write_handoff(bound, handoff)
        _clear_metrics(handoff.with_name("metrics"))
        is_pretty = _is_pretty(loaded)
        specs = build_specs(bound, handoff=handoff, log_format="pretty" if is_pretty else "json")
        supervisor = Supervisor(
            specs,
            listeners={"http": listener},
            control_path=places.control_socket(loaded.paths.run),
            lock=lock,
            log=open_sink(loaded.paths.log if keeps_files else None),
            on_ready=lambda: say(_greeting(bound)),
            describe=plain_line if is_pretty else json_line,
        )
        return supervisor.run()


def make_root(root: Path) -> None:
    """A first start's directory: private, with a commented configuration that boots as it is."""
    from novapulse.core.settings.render import render_example

    _make(root)
    config = root / "config.toml"
    if not config.exists():
        config.write_text(render_example(), encoding="utf-8")
        config.chmod(0o600)


def _make_directories(loaded: Loaded) -> None:
    for directory in (loaded.paths.state, loaded.paths.run, loaded.paths.log):
        _make(directory)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise errors.ConfigurationInvalid(
            f"The directory {directory} can not be made: {error.strerror}",
            where=str(directory),
            hint="Give a directory of your own with --root, or run the installed service",
        ) from error


def _prepare_stores(loaded: Loaded) -> None:
    """Secrets of every kind live in the layout's directory, also with external stores."""
    settings = loaded.settings
    if settings.redis.is_embedded:
        check_runs(find_store("redis-server", settings.stores.redis_server), "redis-server")
    if settings.mongo.is_embedded:
        check_runs(find_store("mongod", settings.stores.mongod), "mongod")
    prepare_layout(places.layout(loaded))


def _bind(loaded: Loaded) -> socket.socket:
    address = loaded.settings.server.address
    try:
        return bind_tcp(address.host, address.port)
    except OSError as error:
        raise AddressTaken(
            f"Can not listen on {loaded.settings.server.listen} "
            f"(port {address.port}): {error.strerror or error}"
        ) from error


def _with_address(loaded: Loaded, listener: socket.socket) -> Loaded:
    """The settings with the address that was really bound: port 0 has become a number."""
    host, port = listener.getsockname()[:2]
    listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    server = msgspec.structs.replace(loaded.settings.server, listen=listen)
    settings = msgspec.structs.replace(loaded.settings, server=server)
    return msgspec.structs.replace(loaded, settings=settings)


def _clear_metrics(directory: Path) -> None:
    """Counters start at zero with the appliance."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)


def _is_pretty(loaded: Loaded) -> bool:
    chosen = loaded.settings.logging.format
    return chosen == "pretty" or (chosen == "auto" and sys.stderr.isatty())


def _greeting(loaded: Loaded) -> str:
    url = loaded.settings.server.base_url
    line = f"NovaPulse {__version__} is ready at {url}"
    try:
        token = places.setup_token_file(loaded).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return line
    return (
        f"{line} - first start: found your company at {url}/api/v1/docs#/identity/register "
        f"with the setup token {token}"
    )
