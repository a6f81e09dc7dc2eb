"""One slot of the table as a pure function: the life that serves, and at most one beside it.

A roll raises a successor beside what serves. When it is ready the two change roles in one
step, so there are never two that serve; when it is not, it leaves and the old one stays.
What must not run twice (a store on its files), or does not serve anyway, restarts in place.

serving ──roll──► serving + rising ──ready──► serving + leaving ──gone──► serving
                            └──── failed ────► serving + leaving ──┘
"""

from dataclasses import dataclass, field, replace

from supervisor.machine import (
    Action,
    Event,
    NeedsLost,
    NeedsMet,
    Paused,
    RestartAsked,
    Slot,
    StartAsked,
    State,
    StopAsked,
    advance,
)
from supervisor.spec import MessageReadiness, ProcessSpec

_EVERYBODYS = (NeedsMet, NeedsLost, Paused)
_NEEDS_AWAY = "what it needs is away"
_ASCENDING = frozenset({State.STARTING, State.READY})


@dataclass(frozen=True, slots=True)
class Life:
    """One process over its incarnations; `key` tells the lives of a place apart."""

    key: int
    spec: ProcessSpec
    slot: Slot = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class Rolled:
    """A new incarnation serves in the place of the old one."""


@dataclass(frozen=True, slots=True)
class RollFailed:
    """The new incarnation did not become ready; `reason` says why."""

    reason: str


Verdict = Rolled | RollFailed


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """`rising` and `leaving` are never there together, so two lives are the most.

    `restarts`: a restart in place is under way. `verdict`: how the last roll ended,
    None while it goes on. `last_key` is never given to a second life.
    """

    serving: Life
    last_key: int = 0
    rising: Life | None = None
    leaving: Life | None = None
    restarts: bool = False
    verdict: Verdict | None = None

    @property
    def lives(self) -> tuple[Life, ...]:
        """The serving one first."""
        return tuple(one for one in (self.serving, self.rising, self.leaving) if one is not None)

    @property
    def is_live(self) -> bool:
        return any(one.slot.is_live for one in self.lives)

    @property
    def is_settled(self) -> bool:
        """Nothing of a roll is left to wait for."""
        return self.rising is None and self.leaving is None and not self.restarts


# Which life is to do what.
Orders = tuple[tuple[int, Action], ...]
Turn = tuple[Place, Orders]


def ask(place: Place, event: Event, now: float) -> Turn:
    """Something concerns the whole place; a stop of it gives up a roll."""
    turning = _Turning(place, now)
    if isinstance(event, _EVERYBODYS):
        for life in place.lives:
            turning.feed(life.key, event)
        return turning.settled()
    if not isinstance(event, StartAsked | RestartAsked):
        turning.give_up("stop asked")
        if (leaving := turning.place.leaving) is not None:
            turning.feed(leaving.key, event)
    turning.feed(place.serving.key, event)
    return turning.settled()


def hear(place: Place, event: Event, *, key: int, now: float) -> Turn:
    """Something happened to the life `key`; one that is gone is not missed."""
    turning = _Turning(place, now)
    turning.feed(key, event)
    return turning.settled()


def roll(place: Place, spec: ProcessSpec, now: float) -> Turn:
    """Put a new incarnation of `spec` in the place, which must be settled."""
    serving = place.serving
    may_run_twice = isinstance(spec.readiness, MessageReadiness)
    if may_run_twice and serving.slot.state is State.READY:
        if not (serving.slot.needs_met and serving.slot.wanted):
            return replace(place, verdict=RollFailed(_NEEDS_AWAY)), ()
        key = place.last_key + 1
        successor = Life(key, spec, Slot(needs_met=True))
        raised = replace(place, rising=successor, last_key=key, verdict=None)
        turning = _Turning(raised, now)
        turning.feed(key, StartAsked())
        return turning.settled()
    fresh = replace(place, serving=replace(serving, spec=spec), restarts=True, verdict=None)
    turning = _Turning(fresh, now)
    turning.feed(serving.key, RestartAsked())
    return turning.settled()


def swap_spec(place: Place, spec: ProcessSpec) -> Place:
    """Let `spec` hold from the next decision on, without a restart."""
    return replace(place, serving=replace(place.serving, spec=spec))


class _Turning:
    """One step of a place, with the orders that it gives on the way."""

    def __init__(self, place: Place, now: float) -> None:
        self.place = place
        self._now = now
        self._orders: list[tuple[int, Action]] = []

    def feed(self, key: int, event: Event) -> None:
        for life in self.place.lives:
            if life.key == key:
                slot, actions = advance(life.spec, life.slot, event=event, now=self._now)
                self._set(life, replace(life, slot=slot))
                self._orders += [(key, action) for action in actions]

    def _set(self, old: Life, new: Life) -> None:
        if old is self.place.serving:
            self.place = replace(self.place, serving=new)
        elif old is self.place.rising:
            self.place = replace(self.place, rising=new)
        else:
            self.place = replace(self.place, leaving=new)

    def settled(self) -> Turn:
        if (rising := self.place.rising) is not None:
            if rising.slot.state is State.READY:
                self._promote(rising)
            elif rising.slot.state not in _ASCENDING:
                self.give_up(rising.slot.verdict or rising.slot.reason or _NEEDS_AWAY)
        if self.place.restarts:
            self._judge_restart(self.place.serving.slot)
        leaving = self.place.leaving
        if leaving is not None and not leaving.slot.is_live:
            self.place = replace(self.place, leaving=None)
        return self.place, tuple(self._orders)

    def give_up(self, reason: str) -> None:
        """End a roll without a successor."""
        failed = RollFailed(reason)
        if (rising := self.place.rising) is not None:
            self.place = replace(self.place, rising=None, leaving=rising, verdict=failed)
            self.feed(rising.key, StopAsked())
        elif self.place.restarts:
            self.place = replace(self.place, restarts=False, verdict=failed)

    def _promote(self, successor: Life) -> None:
        old = self.place.serving
        self.place = replace(
            self.place, serving=successor, rising=None, leaving=old, verdict=Rolled()
        )
        self.feed(old.key, StopAsked())

    def _judge_restart(self, slot: Slot) -> None:
        if slot.renews or slot.state is State.STARTING:
            return
        serves = slot.state in (State.READY, State.DONE)
        reason = slot.verdict or slot.reason or str(slot.state)
        if slot.state is State.BLOCKED:
            reason = _NEEDS_AWAY
        verdict = Rolled() if serves else RollFailed(reason)
        self.place = replace(self.place, restarts=False, verdict=verdict)
