"""Job states and how an attempt's end moves a job between them; pure."""

from dataclasses import dataclass
from enum import StrEnum

from novapulse.core.jobs.backoff import Backoff


class State(StrEnum):
    SCHEDULED = "scheduled"  # due later
    AVAILABLE = "available"
    RUNNING = "running"
    RETRYABLE = "retryable"  # failed, due again later
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    DEAD = "dead"


CLAIMABLE_STATES = (State.SCHEDULED, State.AVAILABLE, State.RETRYABLE)
TERMINAL = (State.COMPLETED, State.CANCELLED, State.DEAD)

# A job whose consumer died this often under it is taken for the cause. For the
# last of these it runs alone, so that no innocent neighbour is blamed with it.
MAX_LAPSES = 3
_REASON_LENGTH = 500


def can_become(before: State, after: State) -> bool:
    """Whether a job may go from one state to another; nothing leaves a terminal one by itself."""
    return after in _NEXT[before]


_NEXT: dict[State, frozenset[State]] = {
    State.SCHEDULED: frozenset({State.AVAILABLE, State.RUNNING, State.CANCELLED}),
    State.AVAILABLE: frozenset({State.RUNNING, State.CANCELLED}),
    State.RETRYABLE: frozenset({State.AVAILABLE, State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset(
        {State.COMPLETED, State.RETRYABLE, State.DEAD, State.CANCELLED, State.AVAILABLE}
    ),
    State.COMPLETED: frozenset(),
    State.CANCELLED: frozenset(),
    State.DEAD: frozenset(),
}


class Retry(Exception):
    """Raised by a handler: this attempt failed; `after_seconds` replaces the backoff."""

    def __init__(self, reason: str, *, after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds


class Cancelled(Exception):
    """The job was cancelled while it ran."""


class GiveUp(Exception):
    """Raised by a handler: no further attempt can help; the job is dead."""


class Snooze(Exception):
    """Raised by a handler: not now; the job comes back and no attempt is spent."""

    def __init__(self, reason: str, *, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state after an attempt; `delay_seconds` until a retry is due."""

    state: State
    delay_seconds: float = 0.0
    spends_attempt: bool = True
    reason: str = ""


_COMPLETED = Outcome(State.COMPLETED)


def outcome_of(
    error: BaseException | None, *, attempt: int, max_attempts: int, backoff: Backoff
) -> Outcome:
    """What becomes of a job whose attempt `attempt` (1-based) ended with `error`.

    `attempt` leaves out the starts that were cut off by the end of the consumer.
    """
    if error is None:
        return _COMPLETED
    if isinstance(error, Snooze):
        return Outcome(
            State.RETRYABLE, max(0.0, error.seconds), spends_attempt=False, reason=_said(error)
        )
    if isinstance(error, Cancelled):
        return Outcome(State.CANCELLED, reason=_said(error))
    if isinstance(error, GiveUp):
        return Outcome(State.DEAD, reason=_said(error))
    reason = _said(error, with_class=True)
    if attempt >= max_attempts:
        return Outcome(State.DEAD, reason=reason)
    asked = error.after_seconds if isinstance(error, Retry) else None
    delay = backoff.delay_seconds(attempt) if asked is None else max(0.0, asked)
    return Outcome(State.RETRYABLE, delay, reason=reason)


def _said(error: BaseException, *, with_class: bool = False) -> str:
    """What the ledger keeps of an error: short, and only what UTF-8 can carry."""
    try:
        text = str(error)
    except Exception:  # an error that can not even be printed is still one
        text = "(no text)"
    name = f"{type(error).__name__}: " if with_class else ""
    return f"{name}{text}"[:_REASON_LENGTH].encode(errors="replace").decode()
