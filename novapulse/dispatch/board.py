"""Who is sent to next: fair shares between webhooks and companies; pure but for its counters.

A webhook has a seat as long as something of it waits or is under way. Rows are
the jobs of deliveries as they were read from the ledger, not yet claimed.
"""

from collections import Counter, OrderedDict, deque
from enum import IntEnum

from novapulse.core.mongo import Document
from novapulse.deliveries.pace import Cap, Rate
from novapulse.dispatch.breaker import Breaker

# The share of all slots that attempts after the first may use: the rest is for first ones.
_LATER_SHARE = 0.7
_COMPANY_SHARE = 0.5
_RECOVER_SHARE = 0.25


class Turn(IntEnum):
    """What kind of attempt it is, for the shares."""

    FIRST = 0
    LATER = 1
    RECOVER = 2


class Limits:
    """The settings of the moment."""

    __slots__ = ("per_webhook", "total")

    def __init__(self, total: int, per_webhook: int) -> None:
        self.total = total
        self.per_webhook = per_webhook

    @property
    def company(self) -> int:
        return max(1, int(self.total * _COMPANY_SHARE))

    @property
    def later(self) -> int:
        return max(1, int(self.total * _LATER_SHARE))


class Seat:
    """One webhook: what waits for it, what is under way, and how it does."""

    __slots__ = (
        "breaker",
        "cap",
        "company_id",
        "in_flight",
        "is_ending",
        "is_sendable",
        "per_second",
        "rate",
        "recovering",
        "waiting",
        "webhook_id",
    )

    def __init__(self, webhook_id: str, company_id: str) -> None:
        self.webhook_id = webhook_id
        self.company_id = company_id
        self.breaker = Breaker()
        self.cap = Cap()
        self.rate = Rate()
        self.per_second: float | None = None
        # Nothing is sent for one that is paused or gone: its rows only have to be put away.
        self.is_sendable = True
        # About to be disabled: nothing more begins until it was read again.
        self.is_ending = False
        self.in_flight = 0
        self.recovering = 0
        self.waiting: dict[Turn, deque[Document]] = {turn: deque() for turn in Turn}

    @property
    def is_idle(self) -> bool:
        return not (self.in_flight or any(self.waiting.values()) or self.breaker.remembers)

    def room(self, now: float, *, limit: int) -> int:
        """How many more of it may begin now."""
        if not self.is_sendable:
            return limit - self.in_flight
        if self.is_ending:
            return 0
        cap = self.cap.of(limit)
        room = self.breaker.room(now, in_flight=self.in_flight, cap=cap)
        return min(room, self.rate.allowed(now, per_second=self.per_second)) if room > 0 else 0

    def may_recover(self, limit: int) -> bool:
        return self.recovering < max(1, int(self.cap.of(limit) * _RECOVER_SHARE))

    def wake_seconds(self, now: float) -> float | None:
        """Until time alone makes room; None when it is not time that is missing."""
        if not self.is_sendable or self.is_ending:
            return None
        if self.breaker.is_open:
            return max(0.0, self.breaker.open_until - now) if not self.in_flight else None
        return self.rate.wait_seconds(now) or None


class Board:
    """All seats, and the shares between them."""

    def __init__(self) -> None:
        self.seats: OrderedDict[str, Seat] = OrderedDict()
        self.in_flight = 0
        self.per_webhook = 1  # of the last pick
        self._later = 0
        self._companies: Counter[str] = Counter()

    def seat(self, webhook_id: str, company_id: str) -> Seat:
        found = self.seats.get(webhook_id)
        if found is None:
            found = self.seats[webhook_id] = Seat(webhook_id, company_id)
        return found

    def take(self, seat: Seat, turn: Turn, now: float) -> None:
        """An attempt is claimed: it counts until `free`."""
        seat.in_flight += 1
        seat.recovering += turn is Turn.RECOVER
        self.in_flight += 1
        self._later += turn is not Turn.FIRST
        self._companies[seat.company_id] += 1
        if seat.is_sendable:
            seat.rate.take(now, per_second=seat.per_second)
            seat.breaker.begin()

    def free(self, seat: Seat, turn: Turn) -> None:
        seat.in_flight -= 1
        seat.recovering -= turn is Turn.RECOVER
        self.in_flight -= 1
        self._later -= turn is not Turn.FIRST
        self._companies[seat.company_id] -= 1
        if not seat.in_flight:
            seat.breaker.abandon()

    def pick(self, now: float, limits: Limits) -> list[tuple[Seat, Turn, Document]]:
        """What to begin now, one of each webhook in turn; taken already."""
        self.per_webhook = limits.per_webhook
        picked: list[tuple[Seat, Turn, Document]] = []
        ring = [seat for seat in self.seats.values() if any(seat.waiting.values())]
        while ring and self.in_flight < limits.total:
            ring = [seat for seat in ring if self._serve(seat, now, limits=limits, into=picked)]
        return picked

    def _serve(
        self,
        seat: Seat,
        now: float,
        *,
        limits: Limits,
        into: list[tuple[Seat, Turn, Document]],
    ) -> bool:
        """Begin one of this webhook, if it may; it then goes behind the others."""
        if self.in_flight >= limits.total or self._company_room(seat, limits) <= 0:
            return False
        if seat.room(now, limit=limits.per_webhook) <= 0:
            return False
        turn = self._turn(seat, limits)
        if turn is None:
            return False
        into.append((seat, turn, seat.waiting[turn].popleft()))
        self.take(seat, turn, now)
        self.seats.move_to_end(seat.webhook_id)
        return True

    def _company_room(self, seat: Seat, limits: Limits) -> int:
        return limits.company - self._companies[seat.company_id]

    def _turn(self, seat: Seat, limits: Limits) -> Turn | None:
        """Which kind is next: recovered ones within their share, else what is due longest."""
        may_be_later = self._later < limits.later
        waiting = seat.waiting
        if waiting[Turn.RECOVER] and may_be_later and seat.may_recover(limits.per_webhook):
            return Turn.RECOVER
        first, later = waiting[Turn.FIRST], waiting[Turn.LATER]
        if later and may_be_later and (not first or later[0]["dueAt"] < first[0]["dueAt"]):
            return Turn.LATER
        return Turn.FIRST if first else None

    def drop_idle(self) -> list[str]:
        """Forget webhooks that nothing waits for and nothing is to be remembered of; which ones."""
        idle = [webhook_id for webhook_id, seat in self.seats.items() if seat.is_idle]
        for webhook_id in idle:
            del self.seats[webhook_id]
        return idle
