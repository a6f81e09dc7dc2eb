"""How every child starts and ends: link, handed-down settings, log, exit code."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from novapulse.core.errors import ConfigurationInvalid, Error, StorageFull, Unavailable
from novapulse.core.exitcodes import exit_code_of
from novapulse.core.settings import Loaded, read_handoff
from novapulse.core.telemetry import logs, tracing
from novapulse.processes.handoff import HANDOFF, INSTANCE, LOG_FORMAT
from novapulse.processes.wear import Wear
from supervisor.child import Link, Message, attend

_STORE_RETRY_SECONDS = 0.2


class Child:
    """A child's surroundings; `link` tells the supervisor how it is, and brings its word.

    Who keeps something that a reload or a drain changes says so by `on_settings` and
    `on_drain`, before `attend`.
    """

    def __init__(self, link: Link, loaded: Loaded, handoff: Path) -> None:
        self.link = link
        self.loaded = loaded
        self._handoff = handoff
        self._wear = Wear(link.ask_replacement)
        self._adopters: list[Callable[[Loaded], None]] = []
        self._drainers: list[Callable[[bool], None]] = []

    @property
    def instance(self) -> str:
        return self.link.instance

    def on_settings(self, adopt: Callable[[Loaded], None]) -> None:
        """Call `adopt` with the new settings after a reload."""
        self._adopters.append(adopt)

    def on_drain(self, drain: Callable[[bool], None]) -> None:
        """Call `drain` when this appliance is taken out of service, or put back."""
        self._drainers.append(drain)

    async def attend(
        self, stopping: asyncio.Event, *, requests: Callable[[], int] = lambda: 0
    ) -> None:
        """Beat from this event loop, and follow what the supervisor says.

        A supervisor that is gone ends this process. `requests` counts what it answered.
        """

        def look_at_wear() -> None:
            self._wear.look(self.loaded.settings.supervisor, requests=requests())

        await attend(self.link, on_gone=stopping.set, on_message=self._follow, on_beat=look_at_wear)

    def _follow(self, message: Message) -> None:
        if message.get("settings"):
            # The file is read anew: the first message may come after what it tells of.
            self.loaded = read_handoff(self._handoff)
            logs.set_level(self.loaded.settings.logging.level)
            for adopt in self._adopters:
                adopt(self.loaded)
        if isinstance(is_draining := message.get("drain"), bool):
            for drain in self._drainers:
                drain(is_draining)


def run_child(role: str, *arguments: str) -> None:
    """Be the process `role`, and leave with the exit code of how it ended."""
    try:
        child = _enter()
        # Only now: what is imported here records metrics under the incarnation's name.
        from novapulse.core.telemetry import metrics

        module = import_module(f"novapulse.processes.{role}")
        metrics.record_as(child.instance)
        module.main(child, *arguments)
    except Error as error:
        where = getattr(error, "where", "")
        sys.stderr.write(f"{role}: {error.detail}{f' ({where})' if where else ''}\n")
        sys.exit(exit_code_of(error))
    finally:
        tracing.shut_down()


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
    tracing.configure(loaded.settings.tracing, process=link.instance)
    return Child(link, loaded, Path(handoff))


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
    """Wait for a store, or for room in it; the supervisor's start timeout bounds it."""
    while True:
        with suppress(Unavailable, StorageFull):
            await check()
            return
        await asyncio.sleep(_STORE_RETRY_SECONDS)
