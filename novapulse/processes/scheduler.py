"""The scheduler: whoever leads pumps events and takes back what lost consumers held.

Several may run; a lease decides which one leads. Everything it does can be
repeated: a leader that was replaced while it slept does no harm.
"""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog

from novapulse.audit.sealer import Sealer, Trimmer
from novapulse.core.context import Runtime
from novapulse.core.errors import StorageFull, Unavailable
from novapulse.core.events import EVENTS
from novapulse.core.jobs import periodic, presence, stats, upkeep
from novapulse.core.jobs.bell import Ear
from novapulse.core.leader import LEASE_SECONDS, RENEW_SECONDS, Leadership
from novapulse.core.mongo import Document
from novapulse.core.pump import Pump
from novapulse.core.tasks import end_all
from novapulse.core.telemetry import metricfiles, metrics
from novapulse.invites.service import expire_invites
from novapulse.processes import entry, places
from novapulse.processes.entry import Child
from novapulse.processes.features import CHORES, PLANNERS
from novapulse.processes.handoff import INSTANCE
from novapulse.processes.runtime import open_runtime
from novapulse.runs import planner as run_planner
from novapulse.runs.upkeep import fail_orphans
from novapulse.stores.layout import MongoRole
from supervisor.control import ControlClient, ControlError

log = structlog.get_logger("scheduler")
SWEEP_SECONDS = 5.0
PERIODIC_SECONDS = 5.0
WORKFLOWS_SECONDS = 5.0
TIDY_SECONDS = 15.0
COUNT_SECONDS = 5.0
SEAL_SECONDS = 2.0
TRIM_SECONDS = 300.0


class Scheduler:
    def __init__(self, runtime: Runtime, *, appliance: str, owner: str) -> None:
        self._runtime = runtime
        self._appliance = appliance
        self._leadership = Leadership(runtime.db, owner)
        self._pump = Pump(runtime, PLANNERS)
        self._sealer = Sealer(runtime)
        self._ear = Ear(runtime.cache, (EVENTS,))
        self._leads_until = 0.0

    @property
    def leads(self) -> bool:
        return time.monotonic() < self._leads_until

    async def run(self, stopping: asyncio.Event) -> None:
        """Lead when it is our turn, until `stopping` is set."""
        parts = [
            asyncio.create_task(part)
            for part in (
                self._ear.listen(),
                self._keep_lease(),
                self._pump_events(),
                self._while_leading(self._take_back, SWEEP_SECONDS),
                self._while_leading(self._enqueue_periodic, PERIODIC_SECONDS),
                self._while_leading(self._run_workflows, WORKFLOWS_SECONDS),
                self._while_leading(self._tidy, TIDY_SECONDS),
                self._while_leading(self._count, COUNT_SECONDS),
                self._while_leading(self._seal, SEAL_SECONDS),
                self._while_leading(self._trim, TRIM_SECONDS),
                *(
                    self._while_leading(partial(self._do, chore), seconds)
                    for chore, seconds in CHORES
                ),
            )
        ]
        asked = asyncio.create_task(stopping.wait())
        ended, _ = await asyncio.wait((asked, *parts), return_when=asyncio.FIRST_COMPLETED)
        await end_all((asked, *parts))
        with suppress(Unavailable):
            await self._leadership.give_up()
        for task in ended - {asked}:
            task.result()

    async def start(self, live_instances: list[str]) -> None:
        """Release at once what earlier incarnations of this appliance held."""
        live = [f"{self._appliance}/{instance}" for instance in live_instances]
        ours: Document = {"$regex": f"^{self._appliance}/", "$nin": live}
        await self._release(ours, "its consumer is gone")
        holder = await self._leadership.holder()
        if holder and holder.startswith(f"{self._appliance}/") and holder not in live:
            await self._take(gone=(holder,))

    async def forget(self, instance: str) -> None:
        """A process of this appliance ended: its leases are free now."""
        await self._release({"$in": [f"{self._appliance}/{instance}"]}, "its consumer ended")

    async def _release(self, holders: Document, reason: str) -> None:
        await presence.leave_all(self._runtime.db, holders)
        released = await upkeep.release_held(self._runtime.db, holders, reason=reason)
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

    async def _while_leading(
        self, step: Callable[[], Awaitable[float | None]], seconds: float
    ) -> None:
        """Repeat a step that any leader may repeat; it may ask for a longer rest."""
        while True:
            rest: float | None = None
            if self.leads:
                with suppress(Unavailable):
                    rest = await step()
            await asyncio.sleep(max(seconds, rest or 0.0))

    async def _take_back(self) -> None:
        lapsed = await upkeep.release_lapsed(self._runtime.db)
        if lapsed:
            log.warning("jobs.lapsed", jobs=lapsed)
        await self._ring_due()

    async def _enqueue_periodic(self) -> None:
        await periodic.enqueue_due(self._runtime, now=self._runtime.clock())

    async def _run_workflows(self) -> None:
        now = self._runtime.clock()
        await run_planner.start_scheduled(self._runtime, now=now)
        await fail_orphans(self._runtime, now=now)

    async def _tidy(self) -> None:
        await expire_invites(self._runtime)
        settings = self._runtime.settings.queues
        await upkeep.trim(
            self._runtime.db,
            keep_completed=timedelta(hours=settings.completed_keep_hours),
            keep_most=settings.completed_keep_jobs,
            keep=timedelta(days=settings.dead_keep_days),
        )

    async def _count(self) -> float:
        """The gauges, and full counts of huge queues: at most a fiftieth of the time."""
        seconds = await stats.take_snapshots(self._runtime.db)
        ages = await stats.oldest_seconds(self._runtime.db)
        for queue, states in (await stats.counts(self._runtime.db)).items():
            metrics.queue_oldest_seconds.labels(queue).set(ages.get(queue, 0.0))
            for state, number in states.items():
                metrics.queue_size.labels(queue, state).set(number)
        return 50 * seconds

    async def _seal(self) -> None:
        await self._sealer.seal_waiting()

    async def _trim(self) -> None:
        """Webhooks replay events: theirs stay for as long as deliveries do."""
        settings = self._runtime.settings
        days = max(settings.audit.keep_days, settings.webhooks.delivery_keep_days)
        await Trimmer(self._runtime, keep=timedelta(days=days)).trim()

    async def _do(self, chore: Callable[[Runtime], Awaitable[object]]) -> None:
        with suppress(StorageFull):  # what is left is done when there is room again
            await chore(self._runtime)

    async def _ring_due(self) -> None:
        for queue in await upkeep.due_queues(self._runtime.db):
            self._runtime.bell.ring(queue)


class Numbers:
    """The metric files of this appliance's processes; those of the ended ones are folded."""

    def __init__(self) -> None:
        self._directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])

    def start(self, live_instances: Callable[[], list[str]]) -> None:
        """For everybody who is gone already; our own file is a living one's."""
        own = os.environ[INSTANCE]
        metricfiles.fold_gone(self._directory, lambda: [own, *live_instances()])

    def forget(self, instance: str) -> None:
        try:
            metricfiles.fold(self._directory, [instance])
        except OSError as error:  # a full disk: the file stays, and is merged as it is
            log.warning("metrics.not_folded", instance=instance, error=str(error))


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
        numbers = Numbers()
        await asyncio.to_thread(numbers.start, announcements.live_instances)
        child.on_settings(lambda loaded: runtime.adopt(loaded.settings))
        beat = asyncio.create_task(child.attend(stopping))
        forgetting = asyncio.create_task(_forget_ended(scheduler, numbers, endings))
        child.link.ready()
        await scheduler.run(stopping)
        forgetting.cancel()
        beat.cancel()


async def _forget_ended(
    scheduler: Scheduler, numbers: Numbers, endings: asyncio.Queue[str]
) -> None:
    while True:
        instance = await endings.get()
        numbers.forget(instance)
        await entry.until_available(partial(scheduler.forget, instance))


def main(child: Child) -> None:
    asyncio.run(serve(child))
