"""The life of one process as a pure function: (slot, event, now) to (slot, actions).

stopped ──► blocked ──► starting ──► ready ──► draining ──► stopping ──► stopped
               ▲            │          │
               │            └► unhealthy ◄┘      any exit ──► backoff | quarantined
               └── backoff, quarantined                       | config_error | done | stopped

`draining` has its signal and finishes its work; `stopping` has SIGKILL and only its
exit is awaited; `unhealthy` is being replaced. A restart drains and starts again at once.
No I/O, no clock, no randomness here: the loop carries out the actions and draws the luck.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from supervisor.policy import Quarantine, earliest_start, next_start, remember_exit
from supervisor.spec import ExitReadiness, MessageReadiness, ProbeReadiness, ProcessSpec

# After SIGKILL only a process stuck in the kernel is still there.
KILL_WAIT_SECONDS = 5.0


class State(StrEnum):
    STOPPED = "stopped"
    BLOCKED = "blocked"
    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    QUARANTINED = "quarantined"
    CONFIG_ERROR = "config_error"
    DONE = "done"


LIVE = frozenset({State.STARTING, State.READY, State.UNHEALTHY, State.DRAINING, State.STOPPING})


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """Everything that decides about one process; `due` is when the next Tick matters.

    `excused`: a need was away during this incarnation, so its exit does not count.
    `served_seconds`: how long the incarnation was ready, as far as it was heard of.
    `verdict`: why we are ending it; `reason`: how the last incarnation ended.
    `renews`: it ends because a restart was asked, and the next one follows at once.
    `fell`: the last incarnation ended and nobody had asked for that.
    """

    state: State = State.STOPPED
    since: float = 0.0
    due: float | None = None
    wanted: bool = False
    renews: bool = False
    fell: bool = False
    needs_met: bool = False
    excused: bool = False
    ready_at: float = 0.0
    heard_at: float = 0.0
    served_seconds: float = 0.0
    starts: tuple[float, ...] = ()
    exits: tuple[float, ...] = ()
    verdict: str = ""
    reason: str = ""

    @property
    def is_live(self) -> bool:
        return self.state in LIVE


@dataclass(frozen=True, slots=True)
class StartAsked:
    """Keep it running from now on."""


@dataclass(frozen=True, slots=True)
class RetireAsked:
    """Start it no more; what runs may go on running."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Retire it and ask what runs to end."""


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """Begin anew, also out of a quarantine: drain what runs, then start at once."""


@dataclass(frozen=True, slots=True)
class HurryAsked:
    """Kill what runs."""


@dataclass(frozen=True, slots=True)
class NeedsMet:
    """Every role that it needs is ready."""


@dataclass(frozen=True, slots=True)
class NeedsLost:
    """A role that it needs is away."""


@dataclass(frozen=True, slots=True)
class BecameReady:
    """The child proved that it serves."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A sign of life from a child that is ready."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The probe met something that makes this incarnation useless."""

    reason: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The child is gone (or never came to be); `code` is negative for a signal."""

    code: int
    reason: str
    chance: float = 0.0


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Paused:
    """We ourselves did not run for so long; silence in that time proves nothing."""

    seconds: float


Event = (
    StartAsked | RetireAsked | StopAsked | RestartAsked | HurryAsked | NeedsMet | NeedsLost
    | BecameReady | Heard | Refused | Exited | Tick | Paused
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spawn:
    pass


@dataclass(frozen=True, slots=True)
class Signal:
    """To the child itself; what it started is its own business until the kill."""

    number: int


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to the child's whole process group."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """It does not die; wait for it no longer."""


Action = Spawn | Signal | Kill | Abandon
Step = tuple[Slot, tuple[Action, ...]]


def advance(spec: ProcessSpec, slot: Slot, *, event: Event, now: float) -> Step:
    """The next slot and what to do; an event that does not fit the state changes nothing."""
    moment = _Moment(spec, now)
    match event:
        case Tick():
            return moment.tick(slot)
        case Heard() | BecameReady():
            return moment.heard(slot, event), ()
        case Exited():
            return moment.exited(slot, event)
        case RestartAsked():
            return moment.renew(slot)
        case NeedsMet():
            met = replace(slot, needs_met=True)
            return moment.launch(met) if slot.state is State.BLOCKED else (met, ())
        case NeedsLost():
            return moment.lost(slot), ()
        case Refused():
            return moment.replace_child(slot, event.reason)
        case Paused():
            return moment.paused(slot, event.seconds), ()
        case _:
            return moment.asked(slot, event)


@dataclass(frozen=True, slots=True)
class _Moment:
    """The transitions of one process at one point in time."""

    spec: ProcessSpec
    now: float

    def asked(self, slot: Slot, event: Event) -> Step:
        if isinstance(event, StartAsked):
            wanted = replace(slot, wanted=True)
            return self.launch(wanted) if slot.state is State.STOPPED else (wanted, ())
        retired = replace(slot, wanted=False, renews=False)
        if not slot.is_live:
            at_rest = slot.state in (State.STOPPED, State.DONE)
            return (retired if at_rest else self.enter(retired, State.STOPPED)), ()
        if isinstance(event, HurryAsked) and slot.state is not State.STOPPING:
            return self.kill(retired, slot.verdict or "hurried stop")
        if isinstance(event, StopAsked) and slot.state in (State.STARTING, State.READY):
            return self.drain(retired, "stop asked")
        return retired, ()

    def renew(self, slot: Slot) -> Step:
        if not slot.wanted:
            return slot, ()
        forgiven = replace(slot, exits=(), fell=False)
        if not slot.is_live:
            return self.launch(forgiven)
        renewing = replace(forgiven, renews=True)
        if slot.state in (State.STARTING, State.READY):
            return self.drain(renewing, "restart asked")
        return renewing, ()

    def lost(self, slot: Slot) -> Slot:
        """Whoever ended shortly before its need was seen to be away ended because of it."""
        since = self.now - self.spec.restart.forgiven_seconds
        kept = tuple(at for at in slot.exits if at < since)
        lost = replace(slot, needs_met=False, excused=slot.excused or slot.is_live, exits=kept)
        is_waiting = slot.state in (State.BACKOFF, State.QUARANTINED)
        return self.enter(lost, State.BLOCKED) if is_waiting and kept != slot.exits else lost

    def drain(self, slot: Slot, verdict: str) -> Step:
        stop = self.spec.stop
        served = _served(slot, until=self.now)
        leaving = replace(slot, served_seconds=served, verdict=verdict)
        draining = self.enter(leaving, State.DRAINING, due=self.now + stop.deadline_seconds)
        return draining, (Signal(stop.signal),)

    def tick(self, slot: Slot) -> Step:
        if slot.due is None or self.now < slot.due:
            return slot, ()
        match slot.state:
            case State.BACKOFF | State.QUARANTINED:
                return self.launch(slot)
            case State.STARTING:
                waited = self.now - slot.since
                return self.replace_child(slot, f"not ready within {waited:.1f} s")
            case State.READY:
                silence = self.now - slot.heard_at
                return self.replace_child(slot, f"silent for {silence:.1f} s")
            case State.STOPPING if not slot.wanted:
                reason = f"still there {self.now - slot.since:.0f} s after SIGKILL"
                return replace(self.enter(slot, State.STOPPED), reason=reason), (Abandon(),)
            case _:
                return self.kill(slot, slot.verdict)

    def launch(self, slot: Slot) -> Step:
        if not slot.needs_met:
            return self.enter(slot, State.BLOCKED), ()
        policy = self.spec.restart
        at = earliest_start(policy, slot.starts, self.now)
        if at > self.now:
            return self.enter(slot, State.BACKOFF, due=at), ()
        starts = (*slot.starts, self.now)[-policy.starts_per_window :]
        fresh = replace(slot, excused=False, served_seconds=0.0, verdict="", starts=starts)
        due = None
        if not isinstance(self.spec.readiness, ExitReadiness):
            due = self.now + self.spec.readiness.start_timeout_seconds
        return self.enter(fresh, State.STARTING, due=due), (Spawn(),)

    def heard(self, slot: Slot, event: Heard | BecameReady) -> Slot:
        limit = _silence_limit(self.spec)
        if limit is None:
            return slot
        if slot.state is State.READY:
            return replace(slot, heard_at=self.now, due=self.now + limit)
        if slot.state is State.STARTING and isinstance(event, BecameReady):
            proven = replace(slot, ready_at=self.now, heard_at=self.now)
            return self.enter(proven, State.READY, due=self.now + limit)
        return slot

    def replace_child(self, slot: Slot, verdict: str) -> Step:
        """End an incarnation that is of no use; its exit then follows the restart policy."""
        if slot.state not in (State.STARTING, State.READY):
            return slot, ()
        stop = self.spec.stop
        # A child that hung right after its readiness has proved nothing while we waited for it.
        served = _served(slot, until=slot.heard_at)
        leaving = replace(slot, served_seconds=served, verdict=verdict)
        due = self.now + min(stop.hung_seconds, stop.deadline_seconds)
        return self.enter(leaving, State.UNHEALTHY, due=due), (Signal(stop.signal),)

    def kill(self, slot: Slot, verdict: str) -> Step:
        due = self.now + KILL_WAIT_SECONDS
        if slot.state is State.STOPPING:
            return replace(slot, due=due), (Kill(),)
        served = slot.served_seconds or _served(slot, until=self.now)
        killed = replace(slot, served_seconds=served, verdict=verdict)
        return self.enter(killed, State.STOPPING, due=due), (Kill(),)

    def exited(self, slot: Slot, event: Exited) -> Step:
        if not slot.is_live:
            return slot, ()
        reason = f"{slot.verdict}, {event.reason}" if slot.verdict else event.reason
        gone = replace(slot, verdict="", reason=reason, fell=False)
        if slot.wanted and slot.renews:
            return self.launch(replace(gone, renews=False))
        if isinstance(self.spec.readiness, ExitReadiness) and event.code == 0:
            return self.enter(gone, State.DONE), ()
        if not slot.wanted:
            return self.enter(gone, State.STOPPED), ()
        if event.code == self.spec.restart.config_exit_code:
            return self.enter(gone, State.CONFIG_ERROR), ()
        fallen = replace(gone, exits=self.exits_after(slot), fell=True)
        return self.again(fallen, event.chance), ()

    def exits_after(self, slot: Slot) -> tuple[float, ...]:
        """The counting exits, after an incarnation that just ended."""
        policy = self.spec.restart
        served = slot.served_seconds or _served(slot, until=self.now)
        if served >= policy.ready_after_seconds:
            return ()
        return slot.exits if slot.excused else remember_exit(policy, slot.exits, self.now)

    def again(self, slot: Slot, chance: float) -> Slot:
        if not slot.needs_met:
            return self.enter(slot, State.BLOCKED)
        match next_start(self.spec.restart, slot.exits, now=self.now, chance=chance):
            case Quarantine(until=until):
                return self.enter(slot, State.QUARANTINED, due=until)
            case start:
                return self.enter(slot, State.BACKOFF, due=start.at)

    def paused(self, slot: Slot, seconds: float) -> Slot:
        """A pause of ours was likely one of the child's too; it gets time to speak again."""
        limit = _silence_limit(self.spec)
        if slot.state is State.READY and limit is not None:
            return replace(slot, due=self.now + limit)
        if slot.state is State.STARTING and slot.due is not None:
            return replace(slot, due=slot.due + seconds)
        return slot

    def enter(self, slot: Slot, state: State, *, due: float | None = None) -> Slot:
        return replace(slot, state=state, since=self.now, due=due)


def _served(slot: Slot, *, until: float) -> float:
    return until - slot.ready_at if slot.state is State.READY else 0.0


def _silence_limit(spec: ProcessSpec) -> float | None:
    match spec.readiness:
        case MessageReadiness(heartbeat_seconds=beat, missed=missed):
            return beat * missed
        case ProbeReadiness(replace_after_seconds=seconds):
            return seconds
        case _:
            return None
