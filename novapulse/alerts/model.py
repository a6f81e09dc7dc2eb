"""What a rule is: a condition that Prometheus can be told and that the program can judge itself.

Conditions are written with a few words only, each of which has both meanings: `promql`
and `measure`, by the values of the labels in `by`.
"""

import re
from datetime import datetime
from typing import Literal

import msgspec

from novapulse.alerts.history import Groups, History

_LABEL = re.compile(r"\{\{ \$labels\.(\w+) \}\}")


class Series(msgspec.Struct, frozen=True):
    """Samples of one name; `where` are `(label, operator, value)` as PromQL has them."""

    name: str
    where: tuple[tuple[str, str, str], ...] = ()
    by: tuple[str, ...] = ()

    def selector(self, suffix: str = "") -> str:
        pairs = ",".join(f'{label}{operator}"{value}"' for label, operator, value in self.where)
        return f"{self.name}{suffix}" + (f"{{{pairs}}}" if pairs else "")

    def grouping(self, *more: str) -> str:
        labels = ", ".join((*more, *self.by))
        return f" by ({labels}) " if labels else ""


class Latest(msgspec.Struct, frozen=True):
    """The present value; of several the sum, the highest or the lowest."""

    series: Series
    how: Literal["sum", "max", "min"] = "sum"
    window_seconds: int = 0

    def promql(self) -> str:
        return f"{self.how}{self.series.grouping()}({self.series.selector()})"

    def measure(self, history: History) -> Groups:
        return history.latest(self.series, self.how)


class Increase(msgspec.Struct, frozen=True):
    """By how much counters grew within the window."""

    series: Series
    window_seconds: int

    def promql(self) -> str:
        window = _duration(self.window_seconds)
        return f"sum{self.series.grouping()}(increase({self.series.selector()}[{window}]))"

    def measure(self, history: History) -> Groups:
        return history.increase(self.series, self.window_seconds)


class Quantile(msgspec.Struct, frozen=True):
    """Of a histogram's observations within the window: what `share` of them stayed below."""

    share: float
    series: Series
    window_seconds: int

    def promql(self) -> str:
        window, grouping = _duration(self.window_seconds), self.series.grouping("le")
        rate = f"rate({self.series.selector('_bucket')}[{window}])"
        return f"histogram_quantile({self.share:g}, sum{grouping}({rate}))"

    def measure(self, history: History) -> Groups:
        return history.quantile(self.series, self.window_seconds, self.share)


class Ratio(msgspec.Struct, frozen=True):
    part: "Latest | Increase"
    whole: "Latest | Increase"

    @property
    def window_seconds(self) -> int:
        return self.part.window_seconds

    def promql(self) -> str:
        return f"{self.part.promql()} / {self.whole.promql()}"

    def measure(self, history: History) -> Groups:
        parts, wholes = self.part.measure(history), self.whole.measure(history)
        return {group: value / wholes[group] for group, value in parts.items() if wholes.get(group)}


class LowestShare(msgspec.Struct, frozen=True):
    """The present part of each whole, series by series; of several the lowest."""

    part: Series
    whole: Series
    window_seconds: int = 0

    def promql(self) -> str:
        return f"min{self.part.grouping()}({self.part.selector()} / {self.whole.selector()})"

    def measure(self, history: History) -> Groups:
        return history.lowest_share(self.part, self.whole)


Measure = Latest | Increase | Quantile | Ratio | LowestShare


class Over(msgspec.Struct, frozen=True):
    """Where the measure is over the limit."""

    measure_of: Measure
    limit: float

    @property
    def window_seconds(self) -> int:
        return self.measure_of.window_seconds

    def promql(self) -> str:
        return f"{self.measure_of.promql()} > {self.limit:.12g}"

    def measure(self, history: History) -> Groups:
        found = self.measure_of.measure(history)
        return {group: value for group, value in found.items() if value > self.limit}


class Under(msgspec.Struct, frozen=True):
    """Where the measure is under the limit."""

    measure_of: Measure
    limit: float

    @property
    def window_seconds(self) -> int:
        return self.measure_of.window_seconds

    def promql(self) -> str:
        return f"{self.measure_of.promql()} < {self.limit:.12g}"

    def measure(self, history: History) -> Groups:
        found = self.measure_of.measure(history)
        return {group: value for group, value in found.items() if value < self.limit}


class Either(msgspec.Struct, frozen=True):
    first: Over | Under
    second: Over | Under

    @property
    def window_seconds(self) -> int:
        return max(self.first.window_seconds, self.second.window_seconds)

    def promql(self) -> str:
        return f"({self.first.promql()}) or ({self.second.promql()})"

    def measure(self, history: History) -> Groups:
        return {**self.second.measure(history), **self.first.measure(history)}


class Unless(msgspec.Struct, frozen=True):
    """Where the first holds and the second does not."""

    first: Over | Under
    second: Over | Under

    @property
    def window_seconds(self) -> int:
        return max(self.first.window_seconds, self.second.window_seconds)

    def promql(self) -> str:
        return f"({self.first.promql()}) unless ({self.second.promql()})"

    def measure(self, history: History) -> Groups:
        others = self.second.measure(history)
        found = self.first.measure(history)
        return {group: value for group, value in found.items() if group not in others}


class Outside(msgspec.Struct, frozen=True):
    """What only somebody else can notice: for Prometheus alone."""

    query: str
    window_seconds: int = 0

    def promql(self) -> str:
        return self.query

    def measure(self, history: History) -> Groups:
        return {}


Condition = Over | Under | Either | Unless | Outside


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """`runbook` is a heading of docs/operations/runbook.md; `labels` are those of the groups."""

    name: str
    severity: Literal["critical", "warning"]
    condition: Condition
    hold_seconds: int
    summary: str
    runbook: str
    labels: tuple[str, ...] = ()

    def summary_of(self, group: tuple[str, ...]) -> str:
        values = dict(zip(self.labels, group, strict=True))
        return _LABEL.sub(lambda found: values[found[1]], self.summary)


class Alert(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A rule that fires; `id` is its name and what it is about."""

    id: str
    name: str
    severity: str
    summary: str
    runbook: str
    value: float
    since: datetime
    seen_at: datetime


def _duration(seconds: int) -> str:
    return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"
