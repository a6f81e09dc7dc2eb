"""The scheduler: whoever leads pumps events and takes back what lost consumers held.

Several may run; a lease decides which one leads. Everything it does can be
repeated: a leader that was replaced while it slept does no harm.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from novapulse.core.context import Runtime
from novapulse.core.errors import Unavailable
from novapulse.core.events import EVENTS
from novapulse.core.jobs import ledger
from novapulse.core.jobs.bell import Ear
from novapulse.core.leader import LEASE_SECONDS, RENEW_SECONDS, Leadership
from novapulse.core.mongo import Document
from novapulse.core.pump import Pump
from novapulse.core.telemetry import metrics
from novapulse.processes import entry, places
from novapulse.processes.entry import Child
from novapulse.processes.features import PLANNERS
from novapulse.processes.runtime import open_runtime
from novapulse.stores.layout import MongoRole
from supervisor.control import ControlClient, ControlError

log = structlog.get_logger("scheduler")
SWEEP_SECONDS = 5.0


class Scheduler:
    def __init__(self, runtime: Runtime, *, appliance: str, owner: str) -> None:
        self._runtime = runtime
        self._appliance = appliance
        self._leadership = Leadership(runtime.db, owner)
        self._pump = Pump(runtime, PLANNERS)
        self._ear = Ear(runtime.cache, (EVENTS,))
        self._leads_until = 0.0

    @property
    def leads(self) -> bool:
        return time.monotonic() < self._leads_until

    async def run(self, stopping: asyncio.Event) -> None:
        """Lead when it is our turn, until `stopping` is set."""
        parts = [
            asyncio.create_task(part)
            for part in (self._ear.listen(), self._keep_lease(), self._pump_events(), self._sweep())
        ]
        asked = asyncio.create_task(stopping.wait())
        ended, _ = await asyncio.wait((asked, *parts), return_when=asyncio.FIRST_COMPLETED)
        for part in (asked, *parts):
            part.cancel()
        await asyncio.gather(asked, *parts, return_exceptions=True)
        with suppress(Unavailable):
            await self._leadership.give_up()
        for task in ended - {asked}:
            task.result()

    async def start(self, live_instances: list[str]) -> None:
        """Release at once what earlier incarnations of this appliance held."""
        live = [f"{self._appliance}/{instance}" for instance in live_instances]
        ours: Document = {"lease.owner": {"$regex": f"^{self._appliance}/", "$nin": live}}
        await self._release(ours, "its consumer is gone")
        holder = await self._leadership.holder()
        if holder and holder.startswith(f"{self._appliance}/") and holder not in live:
            await self._take(gone=(holder,))

    async def forget(self, instance: str) -> None:
        """A process of this appliance ended: its leases are free now."""
        held = {"lease.owner": f"{self._appliance}/{instance}"}
        await self._release(held, "its consumer ended")

    async def _release(self, held: Document, reason: str) -> None:
        released = await ledger.release(self._runtime.db, held, reason)
        if released:
            log.warning("jobs.released", jobs=released, reason=reason)
            await self._ring_due()

    async def _take(self, *, gone: tuple[str, ...] = ()) -> None:
        asked = time.monotonic()
        if await self._leadership.take(gone=gone):
            if not self.leads:
                self._pump.forget()
                log.info("scheduler.leads")
                self._ear.ring()
            self._leads_until = asked + LEASE_SECONDS

    async def _keep_lease(self) -> None:
        while True:
            with suppress(Unavailable):
                await self._take()
            await asyncio.sleep(RENEW_SECONDS)

    async def _pump_events(self) -> None:
        while True:
            planned = 0
            with suppress(Unavailable):
                planned = await self._pump.run_once() if self.leads else 0
            if not planned:
                await self._ear.wait(3600.0)

    async def _sweep(self) -> None:
        while True:
            if self.leads:
                with suppress(Unavailable):
                    await self._sweep_once()
            await asyncio.sleep(SWEEP_SECONDS)

    async def _sweep_once(self) -> None:
        lapsed = await ledger.release_lapsed(self._runtime.db)
        if lapsed:
            log.warning("jobs.lapsed", jobs=lapsed)
        await self._ring_due()
        for queue, states in (await ledger.counts(self._runtime.db)).items():
            for state, number in states.items():
                metrics.queue_size.labels(queue, state).set(number)

    async def _ring_due(self) -> None:
        for queue in await ledger.due_queues(self._runtime.db):
            self._runtime.bell.ring(queue)


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


async def serve(child: Child) -> None:
    loaded = child.loaded
    stopping = entry.stop_event()
    async with open_runtime(loaded, role=MongoRole.WORKER) as runtime:
        await entry.until_available(runtime.db.ping)
        appliance = places.appliance_id(loaded)
        scheduler = Scheduler(
            runtime, appliance=appliance, owner=places.owner(loaded, child.instance)
        )
        endings: asyncio.Queue[str] = asyncio.Queue()
        announcements = Announcements(child)
        announcements.listen(endings.put_nowait)
        await scheduler.start(await asyncio.to_thread(announcements.live_instances))
        beat = asyncio.create_task(entry.attended(child.link, stopping))
        forgetting = asyncio.create_task(_forget_ended(scheduler, endings))
        child.link.ready()
        await scheduler.run(stopping)
        forgetting.cancel()
        beat.cancel()


async def _forget_ended(scheduler: Scheduler, endings: asyncio.Queue[str]) -> None:
    while True:
        instance = await endings.get()
        await entry.until_available(partial(scheduler.forget, instance))


def main(child: Child) -> None:
    asyncio.run(serve(child))
