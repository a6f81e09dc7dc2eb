"""A mongod of our own for as long as a command takes: no supervisor, nobody else knows it."""

import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from novapulse.core.errors import Unavailable
from novapulse.stores.bootstrap import bootstrap_mongod
from novapulse.stores.layout import StoreLayout, prepare_layout
from novapulse.stores.mongod import mongod_process
from novapulse.stores.process import StoreProcess, death_with_parent, find_server

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_PAUSE_SECONDS = 0.05


@contextmanager
def running_mongod(
    layout: StoreLayout, program: Path, *, log: Path, cache_gb: float = 0.25
) -> Iterator[None]:
    """It serves the layout's socket with our users, and has ended after the block.

    To be entered by the main thread: the kernel ends mongod with the thread that started it.

    Raises:
        ConfigurationInvalid: the layout's directories or secrets are not usable.
        Unavailable: it does not start; `log` says why.
    """
    prepare_layout(layout)
    process = mongod_process(layout, program, cache_gb=cache_gb)
    # mongod aborts at a login shell's usual 1,024.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with log.open("ab") as output:
        child = subprocess.Popen(
            process.argv,
            env=dict(process.env),
            cwd=process.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us
            preexec_fn=death_with_parent(),  # noqa: PLW1509 - only a system call
        )
    try:
        _wait(child, process, log)
        bootstrap_mongod(layout)
        yield
    finally:
        _end(child)


def _wait(child: "subprocess.Popen[bytes]", process: StoreProcess, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    request, verdict = process.probe_request, process.probe_verdict
    while find_server(process.socket_path, request, verdict=verdict) != child.pid:
        if child.poll() is not None or time.monotonic() > deadline:
            raise Unavailable(f"mongod does not start; {log} says why")
        time.sleep(_PAUSE_SECONDS)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    try:
        child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
