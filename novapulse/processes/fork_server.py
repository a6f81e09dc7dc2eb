"""The fork server: loads what the program's other processes need, and is forked into them.

What is imported here must open no connection, start no thread and read no settings: each
child reads its own, and those may have changed since.
"""

import gc
import os
from importlib import import_module
from tempfile import TemporaryDirectory

from novapulse.core.errors import ConfigurationInvalid
from novapulse.processes import entry
from novapulse.processes.specs import own_program
from supervisor.child import Link
from supervisor.forkserver import serve

_METRICS = "PROMETHEUS_MULTIPROC_DIR"
# What the roles import only when they run.
_LATER = ("novapulse.core.jobs.consumer", "pymongo.asynchronous.auth", "encodings.ascii")


def main(*roles: str) -> None:
    """Serve until the supervisor is gone; a child of ours becomes the process it is to be."""
    link = Link.from_environ()
    if link is None:
        raise ConfigurationInvalid(
            "This process is started by the supervisor only", hint="Use: novapulse run"
        )
    _load(roles)
    argv = serve(link)
    if argv is not None:
        role, *arguments = argv[len(own_program("process")) :]
        entry.run_child(role, *arguments)


def _load(roles: tuple[str, ...]) -> None:
    gc.disable()  # what is loaded stays
    # Metrics begin with their declaration. Ours go nowhere: a child opens its own files.
    with TemporaryDirectory(prefix=".fork-server-", dir=os.environ[_METRICS]) as nowhere:
        os.environ[_METRICS] = nowhere
        for name in (*(f"novapulse.processes.{role}" for role in roles), *_LATER):
            import_module(name)
    gc.enable()
