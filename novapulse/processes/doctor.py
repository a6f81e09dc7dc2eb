"""`novapulse doctor`: every examination, each of them harmless, none able to stop the others."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from novapulse.core.errors import ConfigurationInvalid, Error
from novapulse.core.settings import Loaded, Paths
from novapulse.processes import doctor_machine as machine
from novapulse.processes import doctor_mail as mail
from novapulse.processes import doctor_stores as stores
from novapulse.processes.doctor_backups import backups
from novapulse.processes.finding import Finding, bad, ok, skipped
from novapulse.processes.status import ask_supervisor, read_running

_NOT_RUNNING = "NovaPulse does not run"


def examine(load: Callable[[], Loaded], paths: Paths) -> list[Finding]:
    """All findings, in the order in which a cause comes before its effects."""
    findings: list[Finding] = []
    loaded, finding = _load(load)
    findings.append(finding)
    rows = _running_rows(paths)
    is_running = rows is not None
    looks: list[Callable[[], Iterable[Finding]]] = [
        partial(machine.files, paths, loaded),
        partial(machine.disk, paths),
        machine.memory,
        machine.clock,
        machine.time_zone,
        machine.open_files,
    ]
    if loaded is not None:
        looks += [
            partial(
                machine.listening,
                read_running(paths) if is_running else loaded,
                is_running=is_running,
            ),
            partial(stores.programs, loaded),
            partial(mail.server, loaded),
            partial(machine.neighbours, loaded),
            partial(backups, loaded),
        ]
    if rows is not None:
        looks += [lambda: _processes(rows), lambda: _running_stores(paths)]
    else:
        looks.append(lambda: [skipped("processes", _NOT_RUNNING), skipped("stores", _NOT_RUNNING)])
    for look in looks:
        findings += _careful(look)
    return findings


def _load(load: Callable[[], Loaded]) -> tuple[Loaded | None, Finding]:
    try:
        loaded = load()
    except ConfigurationInvalid as error:
        fix = error.hint or "novapulse config check shows every problem"
        return None, bad("configuration", error.detail, cause=error.where, fix=fix)
    file = loaded.paths.config_file
    return loaded, ok("configuration", f"{file} is usable" if file.exists() else "all defaults")


def _running_rows(paths: Paths) -> list[dict[str, object]] | None:
    try:
        rows = ask_supervisor(paths)["processes"]
    except Error:
        return None
    return [row for row in rows if row["part"] == "serving"]


def _processes(rows: list[dict[str, object]]) -> Iterable[Finding]:
    for row in rows:
        name, state, reason = f"process {row['name']}", str(row["state"]), str(row["reason"] or "")
        if state in ("ready", "done") or row["isPaused"]:
            yield ok(name, state)
        elif state == "config_error":
            fix = f"novapulse logs {row['name']}; correct it; novapulse reload"
            yield bad(name, "does not accept its configuration", cause=reason, fix=fix)
        else:
            fix = f"novapulse logs {row['name']}"
            yield bad(name, state, cause=reason or "what it needs is away", fix=fix)


def _running_stores(paths: Paths) -> list[Finding]:
    return asyncio.run(stores.running(read_running(paths)))


def _careful(look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(look())
    except Exception as error:  # a broken machine breaks the ways to look at it too
        return [skipped("examination", f"{type(error).__name__}: {error}")]
