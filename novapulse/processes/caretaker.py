"""The caretaker: takes over what ended processes of this appliance left, leases and numbers.

A scheduler has one in itself. Where none runs, the caretaker is a process of its own: a
leader elsewhere does not hear what this supervisor says.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from novapulse.core.context import Runtime
from novapulse.core.jobs import presence, upkeep
from novapulse.core.mongo import Document
from novapulse.core.tasks import end_all
from novapulse.core.telemetry import metricfiles
from novapulse.processes import entry, places
from novapulse.processes.entry import Child
from novapulse.processes.runtime import open_runtime
from novapulse.stores.layout import MongoRole
from supervisor.control import ControlClient, ControlError

log = structlog.get_logger("caretaker")


class Announcements:
    """What the supervisor says about its children's ends, heard on a thread of its own."""

    def __init__(self, child: Child) -> None:
        self._client = ControlClient(places.control_socket(child.loaded.paths.run))

    def live_instances(self) -> list[str]:
        return [one["instance"] for one in self._client.status()["processes"] if one["pid"]]

    def listen(self, on_exit: Callable[[str], None]) -> None:
        """Call `on_exit(instance)` in the running loop for every exit from now on."""
        loop = asyncio.get_running_loop()

        def hear() -> None:
            with suppress(ControlError, RuntimeError):  # the supervisor or our loop has ended
                for event in self._client.subscribe():
                    if "exit" in event:
                        loop.call_soon_threadsafe(on_exit, event["exit"]["instance"])

        threading.Thread(target=hear, name="announcements", daemon=True).start()


class Caretaker:
    """Everything it does can be repeated: while it is replaced there are two."""

    def __init__(self, child: Child, runtime: Runtime) -> None:
        self._runtime = runtime
        self._appliance = places.appliance_id(child.loaded)
        self._instance = child.instance
        self._numbers = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        self._announcements = Announcements(child)
        self._endings: asyncio.Queue[str] = asyncio.Queue()

    async def start(self) -> list[str]:
        """Take over from everybody who is gone already; the instances that live.

        From now on every end is heard.
        """
        self._announcements.listen(self._endings.put_nowait)
        live = await asyncio.to_thread(self._announcements.live_instances)
        owners = [f"{self._appliance}/{instance}" for instance in live]
        ours: Document = {"$regex": f"^{self._appliance}/", "$nin": owners}
        await entry.until_available(partial(self._release, ours, "its consumer is gone"))
        await asyncio.to_thread(metricfiles.fold_gone, self._numbers, self._who_writes)
        return live

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            instance = await self._endings.get()
            self._fold(instance)
            owner: Document = {"$in": [f"{self._appliance}/{instance}"]}
            await entry.until_available(partial(self._release, owner, "its consumer ended"))

    def _who_writes(self) -> list[str]:
        return [self._instance, *self._announcements.live_instances()]

    def _fold(self, instance: str) -> None:
        try:
            metricfiles.fold(self._numbers, [instance])
        except OSError as error:  # a full disk: the file stays, and is merged as it is
            log.warning("metrics.not_folded", instance=instance, error=str(error))

    async def _release(self, holders: Document, reason: str) -> None:
        await presence.leave_all(self._runtime.db, holders)
        released = await upkeep.release_held(self._runtime.db, holders, reason=reason)
        if released:
            log.warning("jobs.released", jobs=released, reason=reason)
            await ring_due(self._runtime)


async def ring_due(runtime: Runtime) -> None:
    """Wake who waits at a queue that has due work."""
    for queue in await upkeep.due_queues(runtime.db):
        runtime.bell.ring(queue)


async def serve(child: Child) -> None:
    stopping = entry.stop_event()
    async with open_runtime(child.loaded, role=MongoRole.WORKER) as runtime:
        await entry.until_available(runtime.db.ping)
        caretaker = Caretaker(child, runtime)
        await caretaker.start()
        child.on_settings(lambda loaded: runtime.adopt(loaded.settings))
        beat = asyncio.create_task(child.attend(stopping))
        caring = asyncio.create_task(caretaker.run())
        asked = asyncio.create_task(stopping.wait())
        child.link.ready()
        ended, _ = await asyncio.wait((asked, caring), return_when=asyncio.FIRST_COMPLETED)
        await end_all((beat, caring, asked))
        for task in ended - {asked}:
            task.result()


def main(child: Child) -> None:
    asyncio.run(serve(child))
