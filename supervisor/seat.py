"""The place of one process in a running supervisor, and how it is shown to people."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from supervisor.incarnation import Incarnation
from supervisor.machine import Slot, State
from supervisor.procfs import find_rss_bytes
from supervisor.reactor import Timer
from supervisor.spec import ProcessSpec

# What counts as ready for those who need it.
SERVING = frozenset({State.READY, State.DONE})


@dataclass(slots=True)
class Seat:
    """A spec, its slot's state, and the incarnation that fills it now."""

    spec: ProcessSpec
    slot: Slot = field(default_factory=Slot)
    child: Incarnation | None = None
    spawns: int = 0
    timer: Timer | None = None

    @property
    def is_serving(self) -> bool:
        return self.slot.state in SERVING

    def identity(self) -> dict[str, object]:
        """Who this is, as events name it."""
        child = self.child
        return {
            "name": self.spec.name,
            "role": self.spec.role,
            "instance": None if child is None else child.instance,
            "pid": None if child is None else child.pid,
        }

    def describe(self, now: float) -> dict[str, object]:
        """One process as `status` shows it; `reason` is how its last incarnation ended."""
        child = self.child
        return {
            **self.identity(),
            "state": self.slot.state.value,
            "restarts": max(self.spawns - 1, 0),
            "uptimeSeconds": None if child is None else round(now - child.started_at, 1),
            "rssBytes": None if child is None else find_rss_bytes(child.pid),
            "reason": self.slot.verdict or self.slot.reason,
            "status": "" if child is None else child.status_text,
        }


def serving_roles(seats: Iterable[Seat]) -> frozenset[str]:
    """A role serves as soon as one of its processes does."""
    return frozenset(seat.spec.role for seat in seats if seat.is_serving)
