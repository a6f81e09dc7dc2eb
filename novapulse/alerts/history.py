"""The program's own scrapes of the last minutes, and what can be read from them. Pure."""

import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from novapulse.core.telemetry.scrape import Labels, Sample

if TYPE_CHECKING:
    from novapulse.alerts.model import Series

Group = tuple[str, ...]
Groups = dict[Group, float]
Numbers = dict[str, dict[Labels, float]]
_SUFFIXES = ("_bucket", "_sum", "_count")
_COMBINE: dict[str, Callable[[float, float], float]] = {
    "sum": lambda a, b: a + b,
    "max": max,
    "min": min,
}


class History:
    """Of the metrics in `names`, as long as `seconds` ago."""

    def __init__(self, names: Iterable[str], *, seconds: int) -> None:
        self.names = frozenset(names)
        self._seconds = seconds
        self._scrapes: deque[tuple[float, Numbers]] = deque()

    @property
    def span_seconds(self) -> float:
        """From the oldest scrape to the last one."""
        return self._scrapes[-1][0] - self._scrapes[0][0] if self._scrapes else 0.0

    def add(self, at: float, samples: Iterable[Sample]) -> None:
        """One scrape; `at` is a clock that never goes back."""
        numbers: Numbers = {}
        for sample in samples:
            numbers.setdefault(sample.name, {})[sample.labels] = sample.value
        self._scrapes.append((at, numbers))
        while len(self._scrapes) > 2 and self._scrapes[1][0] <= at - self._seconds:
            self._scrapes.popleft()

    def latest(self, series: "Series", how: str) -> Groups:
        found: Groups = {}
        for labels, value in _matching(self._scrapes[-1][1], series.name, series).items():
            group = _group(labels, series.by)
            found[group] = _COMBINE[how](found[group], value) if group in found else value
        return found

    def lowest_share(self, part: "Series", whole: "Series") -> Groups:
        """As Prometheus divides: only what has a whole of exactly the same labels."""
        numbers = self._scrapes[-1][1]
        wholes = _matching(numbers, whole.name, whole)
        found: Groups = {}
        for labels, value in _matching(numbers, part.name, part).items():
            if wholes.get(labels):
                group = _group(labels, part.by)
                share = value / wholes[labels]
                found[group] = min(found.get(group, share), share)
        return found

    def increase(self, series: "Series", seconds: int) -> Groups:
        """A series that was not there before has grown from zero, as one that was reset has."""
        found: Groups = {}
        for labels, grown in self._grown(series.name, series, seconds).items():
            group = _group(labels, series.by)
            found[group] = found.get(group, 0.0) + grown
        return found

    def quantile(self, series: "Series", seconds: int, share: float) -> Groups:
        """As Prometheus reads it from buckets: in proportion inside of one."""
        buckets: dict[Group, dict[float, float]] = {}
        for labels, grown in self._grown(f"{series.name}_bucket", series, seconds).items():
            bounds = buckets.setdefault(_group(labels, series.by), {})
            bound = float(dict(labels)["le"])
            bounds[bound] = bounds.get(bound, 0.0) + grown
        found = {group: _quantile(bounds, share) for group, bounds in buckets.items()}
        return {group: value for group, value in found.items() if value is not None}

    def _grown(self, name: str, series: "Series", seconds: int) -> dict[Labels, float]:
        now, present = self._scrapes[-1]
        inside = [one for one in self._scrapes if one[0] >= now - seconds]
        if len(inside) < 2:
            return {}
        former = inside[0][1].get(name, {})
        grown = {}
        for labels, value in _matching(present, name, series).items():
            before = former.get(labels, 0.0)
            grown[labels] = value - before if value >= before else value
        return grown


def is_of(name: str, names: frozenset[str]) -> bool:
    """Whether a sample belongs to one of the metrics."""
    if name in names:
        return True
    return any(name.endswith(end) and name.removesuffix(end) in names for end in _SUFFIXES)


def _matching(numbers: Numbers, name: str, series: "Series") -> dict[Labels, float]:
    found = numbers.get(name, {})
    if not series.where:
        return found
    return {labels: value for labels, value in found.items() if _fits(dict(labels), series)}


def _fits(labels: dict[str, str], series: "Series") -> bool:
    for label, operator, wanted in series.where:
        given = labels.get(label, "")
        is_same = re.fullmatch(wanted, given) is not None if "~" in operator else given == wanted
        if is_same is operator.startswith("!"):
            return False
    return True


def _group(labels: Labels, by: tuple[str, ...]) -> Group:
    values = dict(labels)
    return tuple(values.get(label, "") for label in by)


def _quantile(bounds: dict[float, float], share: float) -> float | None:
    ordered = sorted(bounds.items())
    total = ordered[-1][1] if ordered else 0.0
    if total <= 0:
        return None
    below, floor = 0.0, 0.0
    for bound, number in ordered:
        if number >= share * total:
            if bound == float("inf"):
                return floor
            inside = number - below
            return (
                bound if inside <= 0 else floor + (bound - floor) * (share * total - below) / inside
            )
        below, floor = number, bound
    return floor
