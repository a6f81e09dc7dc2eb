"""Fair shares: which companies a claim serves next, and how much each may get; pure."""

from collections import Counter
from collections.abc import Sequence

Company = str | None


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

        With others waiting, a company gets at most an even share of this claim,
        and never more than what is left of its half of the slots.
        """
        if not waiting or wanted <= 0:
            return []
        if len(waiting) == 1:
            return [(waiting[0], wanted)]
        turn = self._in_turn(waiting)[:wanted]
        share, extra = divmod(wanted, len(turn))
        half = max(1, self._slots // 2)
        shares = []
        for position, company in enumerate(turn):
            even = share + (1 if position < extra else 0)
            allowed = min(even, half - self.held[company])
            if allowed > 0:
                shares.append((company, allowed))
        if shares:
            self._last = shares[-1][0]
        return shares

    def _in_turn(self, waiting: Sequence[Company]) -> list[Company]:
        """The waiting ones, starting behind the one that was served last."""
        ordered = sorted(waiting, key=_order)
        later = [company for company in ordered if _order(company) > _order(self._last)]
        return later + [company for company in ordered if company not in set(later)]


def _order(company: Company) -> str:
    return company or ""
