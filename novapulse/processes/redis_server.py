"""Becomes the embedded redis-server, after putting a damaged append-only file aside."""

import os
import sys
from pathlib import Path

from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.settings import read_handoff
from novapulse.processes import places
from novapulse.processes.handoff import HANDOFF
from novapulse.stores.redis import prepare_redis, redis_process


def main(program: str) -> None:
    """Keeps the pid, so that the supervisor's child is the server itself."""
    handoff = os.environ.get(HANDOFF)
    if handoff is None:
        raise ConfigurationInvalid(
            "This process is started by the supervisor only", hint="Use: novapulse run"
        )
    layout = places.layout(read_handoff(Path(handoff)))
    for damaged in prepare_redis(layout, Path(program)):
        sys.stderr.write(f"Redis' append-only file was damaged and is kept as {damaged}\n")
    process = redis_process(layout, Path(program))
    os.execve(process.argv[0], process.argv, dict(process.env))  # noqa: S606  # no shell wanted
