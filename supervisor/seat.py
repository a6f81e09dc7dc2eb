"""The place of one process in a running supervisor, and how it is shown to people."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from supervisor.incarnation import Incarnation
from supervisor.machine import Slot, State
from supervisor.place import Life, Place
from supervisor.procfs import find_rss_bytes
from supervisor.reactor import Timer
from supervisor.spec import ProcessSpec

# What counts as ready for those who need it.
SERVING = frozenset({State.READY, State.DONE})


@dataclass(slots=True)
class Seat:
    """A place, and by the keys of its lives the children and timers that belong to them.

    `restarts`: starts after an end that nobody had asked for, which a roll's is not.
    `is_retired`: the seat goes away with its last child. `is_paused`: it was stopped
    because the whole is drained.
    """

    place: Place
    children: dict[int, Incarnation] = field(default_factory=dict)
    timers: dict[int, Timer] = field(default_factory=dict)
    restarts: int = 0
    is_retired: bool = False
    is_paused: bool = False

    @classmethod
    def of(cls, spec: ProcessSpec) -> "Seat":
        return cls(Place(serving=Life(0, spec)))

    @property
    def spec(self) -> ProcessSpec:
        return self.place.serving.spec

    @property
    def slot(self) -> Slot:
        return self.place.serving.slot

    @property
    def child(self) -> Incarnation | None:
        """The one that serves."""
        return self.children.get(self.place.serving.key)

    @property
    def is_serving(self) -> bool:
        return self.slot.state in SERVING

    @property
    def is_expected(self) -> bool:
        """Whether the whole is not well without it."""
        return self.spec.required and not self.is_retired and not self.is_paused

    def can_fork(self, role: str) -> bool:
        """Whether what serves here is a fork server that has loaded what `role` needs."""
        if self.child is None:
            return False
        is_loading = self.slot.state is State.STARTING
        return self.slot.state is State.READY or (is_loading and role in self.child.offers)

    def identity(self, key: int | None = None) -> dict[str, object]:
        """Who the life `key`, or the serving one, is: as events name it."""
        child = self.children.get(self.place.serving.key if key is None else key)
        return {
            "name": self.spec.name,
            "role": self.spec.role,
            "instance": None if child is None else child.instance,
            "pid": None if child is None else child.pid,
        }

    def describe(self, now: float) -> list[dict[str, object]]:
        """The lives as `status` shows them, the serving one first.

        `reason` is how the last incarnation ended, `part` what a life is in the place.
        """
        place = self.place
        parts = (("serving", place.serving), ("rising", place.rising), ("leaving", place.leaving))
        return [self._row(part, life, now) for part, life in parts if life is not None]

    def _row(self, part: str, life: Life, now: float) -> dict[str, object]:
        child = self.children.get(life.key)
        slot = life.slot
        return {
            **self.identity(life.key),
            "part": part,
            "state": slot.state.value,
            "restarts": self.restarts,
            "uptimeSeconds": None if child is None else round(now - child.started_at, 1),
            "rssBytes": None if child is None else find_rss_bytes(child.pid),
            "reason": slot.verdict or slot.reason,
            "retryInSeconds": _until(slot, now),
            "isPaused": self.is_paused,
            "status": "" if child is None else child.status_text,
        }


def _until(slot: Slot, now: float) -> float | None:
    """When it is tried again, for one that waits for that."""
    if slot.due is None or slot.state not in (State.BACKOFF, State.QUARANTINED):
        return None
    return round(max(0.0, slot.due - now), 1)


def serving_roles(seats: Iterable[Seat]) -> frozenset[str]:
    """A role serves as soon as one of its processes does."""
    return frozenset(seat.spec.role for seat in seats if seat.is_serving)
