"""How every child starts and ends: link, handed-down settings, log, exit code."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from novapulse.core.errors import ConfigurationInvalid, Error, Unavailable
from novapulse.core.exitcodes import exit_code_of
from novapulse.core.settings import Loaded, read_handoff
from novapulse.core.telemetry import logs
from novapulse.processes.handoff import HANDOFF, INSTANCE, LOG_FORMAT
from supervisor.child import Link, attend

_STORE_RETRY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Child:
    """A child's surroundings; `link` tells the supervisor how it is."""

    link: Link
    loaded: Loaded

    @property
    def instance(self) -> str:
        return self.link.instance


def run_child(role: str, *arguments: str) -> None:
    """Be the process `role`, and leave with the exit code of how it ended."""
    try:
        child = _enter()
        # Only now: what is imported here records metrics under the incarnation's name.
        module = import_module(f"novapulse.processes.{role}")
        module.main(child, *arguments)
    except Error as error:
        where = getattr(error, "where", "")
        sys.stderr.write(f"{role}: {error.detail}{f' ({where})' if where else ''}\n")
        sys.exit(exit_code_of(error))


def _enter() -> Child:
    """Take over from the supervisor; raises ConfigurationInvalid when there is none."""
    link = Link.from_environ()
    handoff = os.environ.get(HANDOFF)
    if link is None or handoff is None:
        raise ConfigurationInvalid(
            "This process is started by the supervisor only", hint="Use: novapulse run"
        )
    os.environ[INSTANCE] = link.instance
    loaded = read_handoff(Path(handoff))
    logs.configure(link.instance, level=loaded.settings.logging.level, style=_style(loaded))
    return Child(link, loaded)


def _style(loaded: Loaded) -> str:
    """Children write to a pipe: only the supervisor knows whether a person reads it."""
    chosen = loaded.settings.logging.format
    if chosen == "auto":
        return os.environ.get(LOG_FORMAT, "json")
    return chosen


def stop_event() -> asyncio.Event:
    """Set by SIGTERM; SIGINT is the supervisor's to handle."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    return stopping


async def until_available(check: Callable[[], Awaitable[None]]) -> None:
    """Wait for a store; the supervisor's start timeout bounds it."""
    while True:
        with suppress(Unavailable):
            await check()
            return
        await asyncio.sleep(_STORE_RETRY_SECONDS)


async def attended(link: Link, stopping: asyncio.Event) -> None:
    """Beat from this event loop; a supervisor that is gone ends this process."""
    await attend(link, on_gone=stopping.set)
