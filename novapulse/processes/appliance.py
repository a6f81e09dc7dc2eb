"""`novapulse run`: from settings to a running supervisor.

Everything that can be wrong is found out here, before the first process starts:
configuration, a second instance, missing programs, an address that is taken.
"""

import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from novapulse import __version__
from novapulse.core import errors
from novapulse.core.settings import Loaded
from novapulse.processes import places, starting
from novapulse.processes.binding import bind_address, find_inherited
from novapulse.processes.gauges import FILE_NAME, Gauges
from novapulse.processes.logsink import open_sink
from novapulse.processes.reload import Configuration, Surroundings
from novapulse.processes.roles import LISTENER, Roles
from novapulse.stores.find import check_runs, find_store
from novapulse.stores.layout import prepare_layout
from supervisor.lock import AlreadyRunning, InstanceLock
from supervisor.loop import Program, Supervisor
from supervisor.report import Record, json_line, plain_line

_LEVELS = ("debug", "info", "warning", "error")
Say = Callable[[str], None]


def run(load: Callable[[], Loaded], *, roles: Roles, files_below: Path | None, say: Say) -> int:
    """Run the appliance in the foreground until it is stopped; the exit code.

    `load` is asked again at every reload.

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
        keeps_files = files_below is not None
        return _run_locked(load, loaded, lock=lock, roles=roles, keeps_files=keeps_files, say=say)
    finally:
        lock.release()


def _run_locked(
    load: Callable[[], Loaded],
    loaded: Loaded,
    *,
    lock: InstanceLock,
    roles: Roles,
    keeps_files: bool,
    say: Say,
) -> int:
    starting.raise_open_files()
    _prepare_stores(loaded)
    handoff = loaded.paths.run / "settings.json"
    _clear_metrics(handoff.with_name("metrics"))
    is_pretty = _is_pretty(loaded)
    inherited = find_inherited() if roles.has("api") else None
    log_format = "pretty" if is_pretty else "json"
    is_inherited = inherited is not None
    around = Surroundings(load, roles, handoff, log_format, is_inherited=is_inherited)
    gauges = Gauges(loaded.paths.run / FILE_NAME)
    listeners = {LISTENER: inherited or bind_address(loaded)} if roles.has("api") else {}
    try:
        configuration = Configuration(loaded, around, listeners=listeners, gauges=gauges)
        supervisor = Supervisor(
            configuration.specs,
            listeners=listeners,
            control_path=places.control_socket(loaded.paths.run),
            lock=lock,
            log=open_sink(loaded.paths.log if keeps_files else None),
            program=Program(
                on_ready=lambda: say(_greeting(configuration.bound, roles)),
                on_change=gauges.update,
                on_stopping=lambda: _close(listeners),
                facts=configuration.facts,
                planners={
                    "reload": configuration.plan_reload,
                    "scale": configuration.plan_scale,
                },
            ),
            describe=_describe(configuration, plain_line if is_pretty else json_line),
            head_start=starting.take_begun(),
        )
        return supervisor.run()
    finally:
        _close(listeners)


def _describe(
    configuration: Configuration, line: Callable[[Record], bytes]
) -> Callable[[Record], bytes]:
    """What is as important as `logging.level` wants, which a reload may change."""

    def describe(entry: Record) -> bytes:
        wanted = _LEVELS.index(configuration.bound.settings.logging.level)
        return line(entry) if _LEVELS.index(str(entry["level"])) >= wanted else b""

    return describe


def _close(listeners: dict[str, socket.socket]) -> None:
    """From a stop on nobody may connect to a socket that only we hold and never accept on."""
    for listener in listeners.values():
        listener.close()


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


def _clear_metrics(directory: Path) -> None:
    """Counters start at zero with the appliance."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)


def _is_pretty(loaded: Loaded) -> bool:
    chosen = loaded.settings.logging.format
    return chosen == "pretty" or (chosen == "auto" and sys.stderr.isatty())


def _greeting(loaded: Loaded, roles: Roles) -> str:
    if not roles.has("api"):
        return f"NovaPulse {__version__} is ready without an API"
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
