"""The scheduler: whoever leads pumps events and takes back what lost machines held.

Several may run; a lease decides which one leads. Everything it does can be
repeated: a leader that was replaced while it slept does no harm.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import structlog

from novapulse.audit.sealer import Sealer, Trimmer
from novapulse.core.clock import Steadiness, until_next
from novapulse.core.context import Runtime
from novapulse.core.errors import StorageFull, TransientConflict, Unavailable
from novapulse.core.events import EVENTS
from novapulse.core.jobs import periodic, stats, stillness, upkeep
from novapulse.core.jobs.bell import TICK_SECONDS, Ear
from novapulse.core.jobs.claims import Silences
from novapulse.core.jobs.stillness import Stillness
from novapulse.core.leader import LEASE_SECONDS, RENEW_SECONDS, Leadership
from novapulse.core.pump import Pump
from novapulse.core.tasks import end_all
from novapulse.core.telemetry import metrics
from novapulse.invites.service import expire_invites
from novapulse.processes import entry, places
from novapulse.processes.caretaker import Caretaker, ring_due
from novapulse.processes.entry import Child
from novapulse.processes.features import CHORES, PLANNERS
from novapulse.processes.runtime import open_runtime
from novapulse.runs import planner as run_planner
from novapulse.runs.upkeep import fail_orphans
from novapulse.schedules import service as schedules
from novapulse.stores.layout import MongoRole

log = structlog.get_logger("scheduler")
SWEEP_SECONDS = 5.0
STRAYS_SECONDS = 3600.0
PERIODIC_SECONDS = 5.0
WORKFLOWS_SECONDS = 5.0
PULL_BACK_SECONDS = 300.0
# By a clock that was not set for so long.
STEADY_SECONDS = 240.0
ORPHANS_SECONDS = 15.0
TIDY_SECONDS = 15.0
COUNT_SECONDS = 5.0
SEAL_SECONDS = 2.0
# Where nothing happens: a look in case that something was missed.
SEAL_LOOK_SECONDS = 2.5
EVENTS_LOOK_SECONDS = 5.0
MET_SECONDS = 0.1
IDLE_COUNT_SECONDS = 60.0
IDLE_TIDY_SECONDS = 60.0
TRIM_SECONDS = 300.0


class Scheduler:
    def __init__(self, runtime: Runtime, *, appliance: str, owner: str) -> None:
        self._runtime = runtime
        self._appliance = appliance
        self._leadership = Leadership(runtime.db, owner)
        self._pump = Pump(runtime, PLANNERS)
        self._sealer = Sealer(runtime)
        self._ear = Ear(runtime.cache, (EVENTS,), look_seconds=EVENTS_LOOK_SECONDS)
        self._leads_until = 0.0
        self._silences = Silences(runtime.db)
        self._steadiness = Steadiness()
        self._seen: Stillness | None = None
        self._counted: tuple[Stillness | None, float] = (None, 0.0)
        self._has_planned = asyncio.Event()
        self._beginning = asyncio.Event()

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
                self._while_leading(self._tick, TICK_SECONDS),
                self._while_leading(self._take_back, SWEEP_SECONDS),
                self._while_leading(self._take_back_strays, STRAYS_SECONDS),
                self._while_leading(self._enqueue_periodic, PERIODIC_SECONDS),
                self._while_leading(self._start_workflows, WORKFLOWS_SECONDS),
                self._while_leading(
                    partial(self._pull_back, run_planner.pull_back), PULL_BACK_SECONDS
                ),
                self._while_leading(
                    partial(self._pull_back, schedules.pull_back), PULL_BACK_SECONDS
                ),
                self._while_leading(self._fail_orphans, ORPHANS_SECONDS),
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
        """Lead at once in place of an earlier incarnation of this appliance."""
        live = [f"{self._appliance}/{instance}" for instance in live_instances]
        holder = await self._leadership.holder()
        if holder and holder.startswith(f"{self._appliance}/") and holder not in live:
            await self._take(gone=(holder,))

    async def _take(self, *, gone: tuple[str, ...] = ()) -> None:
        asked = time.monotonic()
        if await self._leadership.take(gone=gone):
            begins = not self.leads
            self._leads_until = asked + LEASE_SECONDS
            if begins:
                self._begin()
        else:
            self._leads_until = 0.0
            metrics.withdraw_leaders_gauges()

    def _begin(self) -> None:
        self._pump.forget()
        self._silences.forget()
        log.info("scheduler.leads")
        self._ear.ring()
        self._beginning.set()  # whoever waits for it goes on now
        self._beginning = asyncio.Event()

    async def _keep_lease(self) -> None:
        while True:
            with suppress(Unavailable):
                await self._take()
            await asyncio.sleep(until_next(RENEW_SECONDS))

    async def _pump_events(self) -> None:
        while True:
            planned = 0
            try:
                planned = await self._pump.run_once() if self.leads else 0
            except TransientConflict:  # with a change that is over in a moment
                await asyncio.sleep(MET_SECONDS)
                continue
            except (Unavailable, StorageFull):
                pass
            if planned:
                self._has_planned.set()
            else:
                await self._ear.wait(3600.0)

    async def _while_leading(
        self, step: Callable[[], Awaitable[float | None]], seconds: float
    ) -> None:
        """Repeat a step that any leader may repeat; it may ask for a longer rest.

        Who begins to lead begins with all of them, also with what is done once an hour.
        """
        while True:
            beginning, rest = self._beginning, None
            if self.leads:
                with suppress(Unavailable, StorageFull):  # what is left is done when it can be
                    rest = await step()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(until_next(seconds), rest or 0.0)):
                    await beginning.wait()

    async def _tick(self) -> None:
        await self._runtime.bell.tick()

    async def _take_back(self) -> None:
        try:
            self._seen = await stillness.look(self._runtime.db)
            if self._seen.is_still:
                return
            lapsed = await upkeep.release_lapsed(self._runtime.db, self._silences)
        except (Unavailable, StorageFull):  # nobody could renew meanwhile
            self._silences.forget()
            raise
        if lapsed:
            log.warning("jobs.lapsed", jobs=lapsed)
        await ring_due(self._runtime)

    async def _take_back_strays(self) -> None:
        if strays := await upkeep.release_strays(self._runtime.db):
            log.warning("jobs.strays", jobs=strays)
            await ring_due(self._runtime)

    async def _enqueue_periodic(self) -> float:
        """Nothing more is due before the next minute, which is how long to rest."""
        now = self._runtime.clock()
        await periodic.enqueue_due(self._runtime, now=now)
        return _until_next_minute(now)

    async def _start_workflows(self) -> float:
        """Their schedules know whole minutes, too."""
        now = self._runtime.clock()
        started = await run_planner.start_scheduled(self._runtime, now=now)
        return 0.0 if started else _until_next_minute(now)

    async def _pull_back(self, step: Callable[..., Awaitable[None]]) -> None:
        """What a clock that was ahead put off.

        One that is years behind until it is first set must not make everything due at once.
        """
        now = self._runtime.clock()
        if self._steadiness.seconds(now) >= STEADY_SECONDS:
            await step(self._runtime, now=now)

    async def _fail_orphans(self) -> None:
        await fail_orphans(self._runtime, now=self._runtime.clock())

    async def _tidy(self) -> float:
        """What finished long ago goes; where little finishes, it may wait a little longer."""
        await expire_invites(self._runtime)
        settings = self._runtime.settings.queues
        deleted = await upkeep.trim(
            self._runtime.db,
            keep_completed=timedelta(hours=settings.completed_keep_hours),
            keep_most=settings.completed_keep_jobs,
            keep=timedelta(days=settings.dead_keep_days),
        )
        return 0.0 if deleted else IDLE_TIDY_SECONDS

    async def _count(self) -> float:
        """The gauges, and full counts of huge queues: at most a fiftieth of the time.

        As long as nothing is to be done and no row came or went, the last counts hold.
        """
        counted, at = self._counted
        seen, now = self._seen, time.monotonic()
        if seen and seen.is_still and seen == counted and now - at < IDLE_COUNT_SECONDS:
            return 0.0
        seconds = await stats.take_snapshots(self._runtime.db)
        ages = await stats.oldest_seconds(self._runtime.db)
        counts = await stats.counts(self._runtime.db)
        for queue, states in counts.items():
            metrics.queue_oldest_seconds.labels(queue).set(ages.get(queue, 0.0))
            for state, number in states.items():
                metrics.queue_size.labels(queue, state).set(number)
        self._counted = (seen, now)
        return 50 * seconds

    async def _seal(self) -> None:
        """Then wait for events: what was planned in the next seconds is the next batch."""
        await self._sealer.seal_waiting()
        with suppress(TimeoutError):
            async with asyncio.timeout(SEAL_LOOK_SECONDS):
                await self._has_planned.wait()
        self._has_planned.clear()

    async def _trim(self) -> None:
        """Webhooks replay events: theirs stay for as long as deliveries do."""
        settings = self._runtime.settings
        days = max(settings.audit.keep_days, settings.webhooks.delivery_keep_days)
        await Trimmer(self._runtime, keep=timedelta(days=days)).trim()

    async def _do(self, chore: Callable[[Runtime], Awaitable[object]]) -> None:
        """What a chore returns is no rest that it asks for."""
        await chore(self._runtime)


def _until_next_minute(now: datetime) -> float:
    return 60.05 - now.second - now.microsecond / 1e6


async def serve(child: Child) -> None:
    loaded = child.loaded
    stopping = entry.stop_event()
    async with open_runtime(loaded, role=MongoRole.WORKER) as runtime:
        await entry.until_available(runtime.db.ping)
        appliance = places.appliance_id(loaded)
        scheduler = Scheduler(
            runtime, appliance=appliance, owner=places.owner(loaded, child.instance)
        )
        caretaker = Caretaker(child, runtime)
        live = await caretaker.start()
        await entry.until_available(partial(scheduler.start, live))
        child.on_settings(lambda loaded: runtime.adopt(loaded.settings))
        beat = asyncio.create_task(child.attend(stopping))
        caring = asyncio.create_task(caretaker.run())
        child.link.ready()
        await scheduler.run(stopping)
        caring.cancel()
        beat.cancel()


def main(child: Child) -> None:
    asyncio.run(serve(child))
