"""All processes' numbers as one Prometheus text, and as samples for who judges them.

Merging and writing are ours: with nine processes prometheus_client's own takes
several times as long, most of it for parsing the same keys again at each scrape.
What does not change from scrape to scrape is in a `Plan`: as long as no process and
no series comes or goes, a scrape is adding up and writing numbers.
"""

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import accumulate, starmap
from pathlib import Path

import msgspec

from novapulse.core.telemetry.metricfiles import Part, read_parts

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
SUPERVISORS_FILE = "supervisor.prom"
Labels = tuple[tuple[str, str], ...]


class Sample(msgspec.Struct, frozen=True, gc=False):
    name: str
    labels: Labels
    value: float


class Key(msgspec.Struct, frozen=True, gc=False):
    """What a file's key says: the family, the sample's name, its labels, the help text."""

    family: str
    name: str
    labels: Labels
    help: str


class Line(msgspec.Struct, frozen=True, gc=False):
    """What a number is written behind."""

    name: str
    labels: Labels


class Family:
    """One metric: its lines in the order in which they are written, and whence their numbers.

    `places` are of a metric without buckets; `groups` are the buckets by their bounds, which
    processes count apart, and the sum of each histogram.
    """

    def __init__(self, name: str, kind: str, text: str) -> None:
        self.name = f"{name}_total" if kind == "counter" else name
        self.intro = f"# HELP {self.name} {_escaped_help(text)}\n# TYPE {self.name} {kind}"
        self.is_histogram = kind == "histogram"
        self.series: dict[tuple[str, Labels], int] = {}
        self.lines: list[Line] = []
        self.places: list[int] = []
        self.groups: list[tuple[list[int], int]] = []

    @cached_property
    def heads(self) -> list[str]:
        return [_head(line.name, line.labels) for line in self.lines]

    def arrange(self) -> None:
        """All series are known: put them into the order of the text."""
        if not self.is_histogram:
            self.lines = [Line(*series) for series in self.series]
            self.places = list(self.series.values())
            return
        bucket, count = f"{self.name}_bucket", f"{self.name}_count"
        buckets: dict[Labels, list[tuple[float, Labels, int]]] = {}
        for (name, labels), place in self.series.items():
            if name == bucket:
                at = [label for label, _ in labels].index("le")
                others = labels[:at] + labels[at + 1 :]
                buckets.setdefault(others, []).append((float(labels[at][1]), labels, place))
        for (name, labels), place in self.series.items():
            if name != bucket:
                ours = sorted(buckets.get(labels, ()))
                self.lines += [Line(bucket, with_bound) for _, with_bound, _ in ours]
                self.lines += (Line(name, labels), Line(count, labels))
                self.groups.append(([one for _, _, one in ours], place))

    def numbers(self, totals: Sequence[float | None]) -> list[float | None]:
        """One a line; buckets added up as Prometheus does. None is not shown."""
        if not self.is_histogram:
            return [totals[place] for place in self.places]
        found: list[float | None] = []
        for buckets, total in self.groups:
            upto = list(accumulate(totals[place] or 0.0 for place in buckets))
            found += (*upto, totals[total], upto[-1] if upto else 0.0)
        return found


class Plan(msgspec.Struct, frozen=True):
    """What belongs together: the families by name, and the places of each part's numbers."""

    families: tuple[Family, ...]
    places: tuple[tuple[int, ...], ...]
    size: int


def text(directory: Path) -> bytes:
    """What a scraper gets: the processes' numbers, then what the supervisor says of them."""
    lines: list[str] = []
    for family, numbers in merged(read_parts(directory)):
        lines.append(family.intro)
        lines += (
            f"{head} {_number(value)}"
            for head, value in zip(family.heads, numbers, strict=True)
            if value is not None
        )
    own = "\n".join([*lines, ""]) if lines else ""
    return own.encode() + _supervisors_text(directory)


def samples(directory: Path) -> list[Sample]:
    """The same as samples: for a judgement from the program's own scrape."""
    own = [
        Sample(line.name, line.labels, value)
        for family, numbers in merged(read_parts(directory))
        for line, value in zip(family.lines, numbers, strict=True)
        if value is not None
    ]
    return own + list(_parsed(_supervisors_text(directory).decode()))


def merged(parts: Sequence[Part]) -> Iterator[tuple[Family, list[float | None]]]:
    """The families that have something to show, by name, with a number for each line."""
    plan = plan_of(tuple((part.kind, part.keys) for part in parts))
    totals = _totals(plan, parts)
    for family in plan.families:
        numbers = family.numbers(totals)
        if any(number is not None for number in numbers):
            yield family, numbers


@lru_cache(maxsize=2)
def plan_of(shape: tuple[tuple[str, tuple[str, ...]], ...]) -> Plan:
    """For files of these kinds with these keys."""
    families: dict[str, Family] = {}
    found: dict[str, int] = {}  # processes write the same keys: each is looked into once
    for kind, keys in shape:
        for raw in keys:
            if raw in found:
                continue
            key = _key(raw)
            family = families.get(key.family)
            if family is None:
                family = families[key.family] = Family(key.family, kind, key.help)
            # A former version's key of the same series may have another text of help.
            found[raw] = family.series.setdefault((key.name, key.labels), len(found))
    for family in families.values():
        family.arrange()
    places = tuple(tuple(map(found.__getitem__, keys)) for _, keys in shape)
    return Plan(tuple(families[name] for name in sorted(families)), places, len(found))


_MERGES: dict[str, Callable[[float, float], float]] = {"livemin": min, "livemax": max}


def _totals(plan: Plan, parts: Sequence[Part]) -> list[float | None]:
    """The processes' numbers as one at each place, as the mode of a gauge wants it."""
    totals: list[float | None] = [None] * plan.size
    times = [0.0] * plan.size
    for part, places in zip(parts, plan.places, strict=True):
        if part.mode == "livemostrecent":
            for place, value, at in zip(places, part.values, part.numbers[1::2], strict=True):
                if at > times[place]:
                    totals[place], times[place] = value, at
            continue
        merge: Callable[[float, float], float] = _MERGES.get(part.mode, operator.add)
        for place, value in zip(places, part.values, strict=True):
            known = totals[place]
            totals[place] = value if known is None else merge(known, value)
    return totals


_keys = msgspec.json.Decoder(tuple[str, str, dict[str, str], str])


@lru_cache(maxsize=20_000)
def _key(raw: str) -> Key:
    family, name, labels, text = _keys.decode(raw)
    return Key(family, name, tuple(sorted(labels.items())), text)


def _head(name: str, labels: Labels) -> str:
    return f"{name}{{{','.join(starmap(_pair, labels))}}}" if labels else name


@lru_cache(maxsize=20_000)
def _pair(label: str, value: str) -> str:
    return f'{label}="{_escaped(value)}"'


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escaped_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)


def _supervisors_text(directory: Path) -> bytes:
    try:
        return directory.with_name(SUPERVISORS_FILE).read_bytes()
    except OSError:
        return b""


def _parsed(text: str) -> Iterator[Sample]:
    """Of our own supervisor's file, whose label values are plain names."""
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        head, _, number = line.rpartition(" ")
        name, _, inside = head.partition("{")
        pairs = (pair.partition("=") for pair in inside.rstrip("}").split(",") if pair)
        labels = tuple(sorted((label, value.strip('"')) for label, _, value in pairs))
        yield Sample(name, labels, float(number))
