"""A chart out of counts, as SVG that stands inside a page; pure."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

from novapulse.core.sources import Row

_MOST_BARS = 24
_MOST_NAMES = 5_000
_REST = "everything else"
_WIDTH, _LABEL, _NUMBER, _BAR, _STEP = 720, 220, 80, 18, 24


@dataclass(frozen=True, slots=True)
class Chart:
    """What is counted of a table: `name` of a row gets `amount`.

    `is_by_name` orders the bars by their names, else the longest is first.
    """

    title: str
    name: Callable[[Row], str | None]
    amount: Callable[[Row], int] = lambda row: 1
    is_by_name: bool = False


@dataclass(slots=True)
class Tally:
    """The counts while the rows pass by. Names beyond the first thousands are one."""

    chart: Chart
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, rows: list[Row]) -> None:
        for row in rows:
            name = self.chart.name(row)
            if name is None:
                continue
            if name not in self.counts and len(self.counts) >= _MOST_NAMES:
                name = _REST
            self.counts[name] += self.chart.amount(row)

    def bars(self) -> list[tuple[str, int]]:
        """What the chart shows, from top to bottom."""
        if self.chart.is_by_name:
            ordered = sorted(self.counts.items())
            return _folded(ordered, keep=len(ordered) <= _MOST_BARS)
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        if len(ordered) <= _MOST_BARS:
            return ordered
        rest = sum(amount for _, amount in ordered[_MOST_BARS - 1 :])
        return [*ordered[: _MOST_BARS - 1], (_REST, rest)]


def _folded(days: list[tuple[str, int]], *, keep: bool) -> list[tuple[str, int]]:
    """Days, or where they are many their months."""
    if keep:
        return days
    months: Counter[str] = Counter()
    for day, amount in days:
        months[day[:7]] += amount
    return sorted(months.items())


def to_svg(tally: Tally) -> str:
    """Horizontal bars with names and numbers; says so when there is nothing to show."""
    bars = tally.bars()
    title = escape(tally.chart.title)
    if not bars:
        return f"<p>{title}: nothing to show.</p>"
    most = max(1, *(amount for _, amount in bars))
    height = _STEP * len(bars) + 8
    drawn = "".join(
        _bar(name, amount, top=4 + _STEP * number, most=most)
        for number, (name, amount) in enumerate(bars)
    )
    return (
        f'<figcaption>{title}</figcaption><svg viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="{title}">{drawn}</svg>'
    )


def _bar(name: str, amount: int, *, top: int, most: int) -> str:
    width = round((_WIDTH - _LABEL - _NUMBER) * amount / most, 1)
    middle = top + _BAR - 5
    label = escape(name if len(name) <= 32 else name[:31] + "…")
    return (
        f'<text x="{_LABEL - 8}" y="{middle}" text-anchor="end">{label}</text>'
        f'<rect x="{_LABEL}" y="{top}" width="{width}" height="{_BAR}"/>'
        f'<text x="{_LABEL + width + 6}" y="{middle}">{amount}</text>'
    )
