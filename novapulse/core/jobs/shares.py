"""Fair shares: which companies a claim serves next, and how much each may get; pure."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

Company = str | None
# So many companies are served by one claim at most: each costs a query.
SERVED_AT_ONCE = 16


class Rotation:
    """Serves companies in turn, and none more than half of the slots while others wait."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._last: Company = None
        self.held: Counter[Company] = Counter()

    def take(self, company: Company) -> None:
        self.held[company] += 1

    def free(self, company: Company) -> None:
        self.held[company] -= 1
        if self.held[company] <= 0:
            del self.held[company]

    def plan(self, waiting: Sequence[Company], wanted: int) -> list[tuple[Company, int]]:
        """`(company, how many)` for up to `wanted` jobs, beginning after who came last.

        `waiting` are the companies with due jobs; one that is alone gets all.

        With others waiting, a company gets at most an even share of this claim,
        and never more than what is left of its half of the slots.
        """
        if not waiting or wanted <= 0:
            return []
        if len(waiting) == 1:
            return [(waiting[0], wanted)]
        half = max(1, self._slots // 2)
        allowed = {company: half - self.held[company] for company in waiting}
        everyone = self._in_turn([company for company in waiting if allowed[company] > 0])
        if not everyone:
            return []
        turn = everyone[: min(wanted, SERVED_AT_ONCE)]
        share, extra = divmod(wanted, len(turn))
        # Where all are served at once, the odd ones go on behind who got one now.
        self._last = turn[-1] if len(turn) < len(everyone) or not extra else turn[extra - 1]
        return [
            (company, min(share + (1 if position < extra else 0), allowed[company]))
            for position, company in enumerate(turn)
        ]

    def _in_turn(self, waiting: Sequence[Company]) -> list[Company]:
        """The waiting ones, starting behind the one that was served last."""
        ordered = sorted(waiting, key=_order)
        first = bisect_right(ordered, _order(self._last), key=_order)
        return ordered[first:] + ordered[:first]


def _order(company: Company) -> str:
    return company or ""
