"""The fork server: loads what the program's other processes need, and is forked into them.

What is imported here must open no connection, start no thread and read no settings: each
child reads its own, and those may have changed since.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from prometheus_client import values

from novapulse.core.errors import ConfigurationInvalid
from novapulse.processes import entry
from novapulse.processes.starting import own_program
from supervisor.child import Link
from supervisor.forkserver import serve

_METRICS = "PROMETHEUS_MULTIPROC_DIR"
# What the roles import only when they run.
_LATER = ("novapulse.core.jobs.consumer", "pymongo.asynchronous.auth", "encodings.ascii")


def main(*roles: str) -> None:
    """Serve until the supervisor is gone; a child of ours becomes the process it is to be.

    Who fills the first of the `roles` does not wait until the others' modules are loaded.
    """
    link = Link.from_environ()
    if link is None:
        raise ConfigurationInvalid(
            "This process is started by the supervisor only", hint="Use: novapulse run"
        )
    first, *others = roles
    with _no_authorities():
        _load(first)
        argv = serve(link, offers=[first], rest=_load_rest(others))
    if argv is not None:
        role, *arguments = argv[len(own_program("process")) :]
        entry.run_child(role, *arguments)


def _load(role: str) -> None:
    """Load what the process `role` is, with all declarations of metrics."""
    os.environ[_METRICS] = os.devnull
    library: Any = values  # what is exchanged there is its own affair
    library.MmapedDict, files = _Nowhere, library.MmapedDict
    try:
        import_module("novapulse.core.telemetry.metrics")
    finally:
        library.MmapedDict = files
    import_module(f"novapulse.processes.{role}")


class _Nowhere:
    """Where metrics begin that are declared here; a child opens files of its own for them."""

    def __init__(self, filename: str) -> None: ...

    def read_value(self, key: str) -> tuple[float, float]:
        return 0.0, 0.0

    def write_value(self, key: str, value: float, timestamp: float) -> None: ...

    def close(self) -> None: ...


def _load_rest(roles: list[str]) -> Iterator[None]:
    """Part by part."""
    for name in (*(f"novapulse.processes.{role}" for role in roles), *_LATER):
        import_module(name)
        yield
    from novapulse.core.crypto import KeyRing
    from novapulse.processes.app import prepare
    from novapulse.processes.features import ROUTES

    prepare(ROUTES)
    KeyRing("none", {"none": bytes(32)})  # the first cipher has OpenSSL find its own parts
    yield


@contextmanager
def _no_authorities() -> Iterator[None]:
    """Have no certificates read meanwhile.

    aiohttp does so twice when it is loaded, for contexts that we never use: each of our
    connections has its own, and these trust nobody.
    """

    def read_nothing(self: ssl.SSLContext) -> None: ...

    ssl.SSLContext.set_default_verify_paths = read_nothing  # type: ignore[method-assign]  # undone
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths  # the inherited one is back
