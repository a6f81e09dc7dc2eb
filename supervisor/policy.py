"""When a process may start again; pure, so a crash loop is tested without a clock or a process."""

from collections.abc import Sequence
from dataclasses import dataclass

from supervisor.spec import RestartPolicy

_EXITS_KEPT = 32


@dataclass(frozen=True, slots=True)
class Start:
    at: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """One try at `until`, and again a window later, until the process proves itself."""

    until: float


def next_start(
    policy: RestartPolicy, exits: Sequence[float], *, now: float, chance: float = 0.0
) -> Start | Quarantine:
    """Decide after an exit; `exits` are the counting ones since the process last proved itself.

    min(cap, base * 2**(n - 1)) plus up to `jitter` of it, so that processes that failed
    together do not come back together, and none comes early. `chance` is the luck of
    the draw, 0 to 1, from the caller, because this function draws nothing itself.
    """
    if is_quarantined(policy, exits):
        return Quarantine(until=now + policy.window_seconds)
    doublings = min(max(len(exits) - 1, 0), _EXITS_KEPT)
    delay = min(policy.cap_seconds, policy.base_seconds * 2.0**doublings)
    return Start(at=now + delay * (1 + policy.jitter * chance))


def is_quarantined(policy: RestartPolicy, exits: Sequence[float]) -> bool:
    """Were more than `quarantine_exits` of them within one window, whenever that was?"""
    span = policy.quarantine_exits
    pairs = zip(exits, exits[span:], strict=False)
    return any(last - first <= policy.window_seconds for first, last in pairs)


def remember_exit(policy: RestartPolicy, exits: tuple[float, ...], at: float) -> tuple[float, ...]:
    """Add a counting exit, bounded; the run that led into quarantine is never pushed out."""
    if is_quarantined(policy, exits):
        return exits
    return (*exits, at)[-max(_EXITS_KEPT, policy.quarantine_exits + 1) :]


def earliest_start(policy: RestartPolicy, starts: Sequence[float], now: float) -> float:
    """The moment from which one more start keeps within `starts_per_window`."""
    if len(starts) < policy.starts_per_window:
        return now
    return max(now, starts[-policy.starts_per_window] + policy.window_seconds)
