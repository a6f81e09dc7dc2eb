"""The steps of which a change to the running table is made.

A step begins once, then is looked at after every change until it is over. It can name the
step that takes it back.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from supervisor.incarnation import Incarnation
from supervisor.machine import StartAsked, State, StopAsked
from supervisor.place import RollFailed
from supervisor.roster import Roster
from supervisor.seat import Seat
from supervisor.spec import ExitReadiness, MessageReadiness, ProcessSpec

# Over what a step's own rules allow: a loop under load is late.
_SLACK_SECONDS = 5.0
_HOPELESS = frozenset({State.UNHEALTHY, State.BACKOFF, State.QUARANTINED, State.CONFIG_ERROR})


class StepFailed(Exception):
    """The step did not work out; the message says why."""


class Step(ABC):
    """`describe` says what was done, as in `api-1: replaced`, or nothing."""

    @abstractmethod
    def begin(self, roster: Roster) -> None:
        """Set it going. Raises StepFailed."""

    def is_over(self, roster: Roster) -> bool:
        """Whether it has worked out. Raises StepFailed."""
        return True

    def inverse(self) -> "Step | None":
        """What takes it back, once it was begun."""
        return None

    def describe(self) -> str:
        return ""

    def deadline_seconds(self) -> float:
        """How long it may take; its own rules end most steps before."""
        return 0.0

    def lateness(self) -> str:
        """Why it has failed when that time is over."""
        return "not in time"


@dataclass
class RollStep(Step):
    """A new incarnation in the seat `name`; of `spec`, or of what it has."""

    name: str
    spec: ProcessSpec | None = None
    _before: ProcessSpec | None = field(default=None, init=False)
    _is_begun: bool = field(default=False, init=False)
    _has_kept_its_old: bool = field(default=False, init=False)

    def begin(self, roster: Roster) -> None:
        seat = _get(roster, self.name)
        if isinstance(seat.spec.readiness, ExitReadiness):
            raise StepFailed(f"{self.name} runs once at a start and is not restarted")
        self._before = seat.spec
        self.is_over(roster)

    def is_over(self, roster: Roster) -> bool:
        seat = _get(roster, self.name)
        if not self._is_begun:
            if not seat.place.is_settled:
                return False  # what is left of an earlier roll
            self._is_begun = True
            if seat.is_paused:
                roster.swap(seat, self.spec or seat.spec)
                return True
            roster.roll(seat, self.spec or seat.spec)
        if isinstance(seat.place.verdict, RollFailed):
            self._has_kept_its_old = seat.spec is self._before
            raise StepFailed(f"{self.name}: {seat.place.verdict.reason}")
        return seat.place.is_settled

    def inverse(self) -> Step | None:
        return None if self._has_kept_its_old else RollStep(self.name, self._before)

    def describe(self) -> str:
        return f"{self.name}: replaced"

    def deadline_seconds(self) -> float:
        spec = self.spec or self._before
        return 0.0 if spec is None else _start_seconds(spec) + 2 * spec.stop.deadline_seconds


@dataclass
class SwapStep(Step):
    """Other rules for the seat `name` from now on: deadlines, restarts."""

    name: str
    spec: ProcessSpec
    _before: ProcessSpec | None = field(default=None, init=False)

    def begin(self, roster: Roster) -> None:
        seat = _get(roster, self.name)
        self._before = seat.spec
        roster.swap(seat, self.spec)

    def inverse(self) -> Step | None:
        return None if self._before is None else SwapStep(self.name, self._before)


@dataclass
class AddStep(Step):
    """One more seat, at `index` of the table."""

    spec: ProcessSpec
    index: int

    def begin(self, roster: Roster) -> None:
        roster.add(self.spec, index=self.index)

    def is_over(self, roster: Roster) -> bool:
        seat = _get(roster, self.spec.name)
        if seat.slot.state in _HOPELESS:
            raise StepFailed(f"{self.spec.name}: {seat.slot.verdict or seat.slot.reason}")
        return seat.is_serving or seat.is_paused

    def inverse(self) -> Step | None:
        return RemoveStep(self.spec.name)

    def describe(self) -> str:
        return f"{self.spec.name}: started"

    def deadline_seconds(self) -> float:
        return _start_seconds(self.spec)


@dataclass
class RemoveStep(Step):
    """The seat `name` finishes its work and goes."""

    name: str
    _before: AddStep | None = field(default=None, init=False)
    _deadline: float = field(default=0.0, init=False)

    def begin(self, roster: Roster) -> None:
        seat = _get(roster, self.name)
        self._before = AddStep(seat.spec, roster.seats.index(seat))
        self._deadline = 2 * seat.spec.stop.deadline_seconds
        roster.remove(seat)

    def is_over(self, roster: Roster) -> bool:
        return all(seat.spec.name != self.name for seat in roster.seats)

    def inverse(self) -> Step | None:
        return self._before

    def describe(self) -> str:
        return f"{self.name}: finished its work and left"

    def deadline_seconds(self) -> float:
        return self._deadline


@dataclass
class PauseStep(Step):
    """The seat `name` finishes its work and waits; with `undo` it starts again."""

    name: str
    undo: bool = False
    _deadline: float = field(default=0.0, init=False)

    def begin(self, roster: Roster) -> None:
        seat = _get(roster, self.name)
        stop = 2 * seat.spec.stop.deadline_seconds
        self._deadline = _start_seconds(seat.spec) if self.undo else stop
        seat.is_paused = not self.undo
        roster.post(StartAsked() if self.undo else StopAsked(), seat)

    def is_over(self, roster: Roster) -> bool:
        seat = _get(roster, self.name)
        return seat.is_serving if self.undo else not seat.place.is_live

    def inverse(self) -> Step | None:
        return PauseStep(self.name, undo=not self.undo)

    def describe(self) -> str:
        return f"{self.name}: {'takes work again' if self.undo else 'takes no more work'}"

    def deadline_seconds(self) -> float:
        return self._deadline


@dataclass
class TellStep(Step):
    """A message to every child with a link, or those of `names`; who serves has to confirm it.

    One that is still starting finds the message when it begins to listen.
    """

    message: dict[str, object]
    names: frozenset[str] | None = None
    text: str = ""
    _waiting: list[tuple[Seat, Incarnation]] = field(default_factory=list, init=False)
    _silent: list[str] = field(default_factory=list, init=False)

    def begin(self, roster: Roster) -> None:
        for seat in roster.seats:
            if self.names is None or seat.spec.name in self.names:
                self._tell(seat)

    def is_over(self, roster: Roster) -> bool:
        self._silent = [
            seat.spec.name
            for seat, child in self._waiting
            if child.took < child.told and child in seat.children.values()
        ]
        return not self._silent

    def inverse(self) -> Step | None:
        message = self.message
        if isinstance(message.get("drain"), bool):
            message = {"drain": not message["drain"]}
        return TellStep(message, self.names)

    def describe(self) -> str:
        return self.text

    def deadline_seconds(self) -> float:
        return 0.0

    def lateness(self) -> str:
        return f"{', '.join(self._silent)}: no confirmation"

    def _tell(self, seat: Seat) -> None:
        if not isinstance(seat.spec.readiness, MessageReadiness):
            return
        for life in seat.place.lives:
            child = seat.children.get(life.key)
            if child is not None and child.has_link:
                child.tell(**self.message)
                if life.slot.state is State.READY:
                    self._waiting.append((seat, child))


def overdue_after(step: Step) -> float:
    """Seconds after which a step has failed, whatever it waits for."""
    return step.deadline_seconds() + _SLACK_SECONDS


def _get(roster: Roster, name: str) -> Seat:
    for seat in roster.seats:
        if seat.spec.name == name:
            return seat
    raise StepFailed(f"{name} is gone")


def _start_seconds(spec: ProcessSpec) -> float:
    readiness = spec.readiness
    return 0.0 if isinstance(readiness, ExitReadiness) else readiness.start_timeout_seconds
