"""All processes' numbers as one Prometheus text, and as samples for who judges them.

Merging and writing are ours: with nine processes prometheus_client's own takes
several times as long, most of it for parsing the same keys again at each scrape.
"""

import json
import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
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


class Family:
    """One metric: its samples by name and labels, in the order in which they came."""

    __slots__ = ("help", "kind", "name", "samples", "times")

    def __init__(self, name: str, kind: str, text: str) -> None:
        self.name = f"{name}_total" if kind == "counter" else name
        self.kind = kind
        self.help = text
        self.samples: dict[tuple[str, Labels], float] = {}
        self.times: dict[tuple[str, Labels], float] = {}

    def add(self, mode: str, key: Key, *, value: float, at: float) -> None:
        """Take in one process's number, as the mode of a gauge wants it."""
        place = (key.name, key.labels)
        known = self.samples.get(place)
        if mode == "livemostrecent":
            if at > self.times.get(place, 0.0):
                self.samples[place], self.times[place] = value, at
        elif known is None:
            self.samples[place] = value
        elif mode == "livemin":
            self.samples[place] = min(known, value)
        elif mode == "livemax":
            self.samples[place] = max(known, value)
        else:
            self.samples[place] = known + value


def text(directory: Path) -> bytes:
    """What a scraper gets: the processes' numbers, then what the supervisor says of them."""
    lines: list[str] = []
    for family in merged(read_parts(directory)):
        lines += (
            f"# HELP {family.name} {_escaped_help(family.help)}",
            f"# TYPE {family.name} {family.kind}",
        )
        lines += (f"{_head(name, labels)} {_number(value)}" for name, labels, value in rows(family))
    own = "\n".join([*lines, ""]) if lines else ""
    return own.encode() + _supervisors_text(directory)


def samples(directory: Path) -> list[Sample]:
    """The same as samples: for a judgement from the program's own scrape."""
    own = [Sample(*row) for family in merged(read_parts(directory)) for row in rows(family)]
    return own + list(_parsed(_supervisors_text(directory).decode()))


def merged(parts: Iterable[Part]) -> list[Family]:
    """One family a metric, by name."""
    families: dict[str, Family] = {}
    for part in parts:
        for raw, value, at in part.values:
            key = _key(raw)
            family = families.get(key.family)
            if family is None:
                family = families[key.family] = Family(key.family, part.kind, key.help)
            family.add(part.mode, key, value=value, at=at)
    return [families[name] for name in sorted(families) if families[name].samples]


def rows(family: Family) -> Iterator[tuple[str, Labels, float]]:
    """Name, labels and value; buckets, which processes count apart, added up as Prometheus does."""
    if family.kind != "histogram":
        for (name, labels), value in family.samples.items():
            yield name, labels, value
        return
    buckets: dict[Labels, list[tuple[float, Labels, float]]] = {}
    sums: list[tuple[str, Labels, float]] = []
    for (name, labels), value in family.samples.items():
        bound = dict(labels).get("le")
        if bound is None:
            sums.append((name, labels, value))
            continue
        others = tuple(pair for pair in labels if pair[0] != "le")
        buckets.setdefault(others, []).append((float(bound), labels, value))
    for name, labels, value in sums:
        total = 0.0
        for _, with_bound, number in sorted(buckets.get(labels, ())):
            total += number
            yield f"{family.name}_bucket", with_bound, total
        yield name, labels, value
        yield f"{family.name}_count", labels, total


@lru_cache(maxsize=20_000)
def _key(raw: str) -> Key:
    family, name, labels, text = json.loads(raw)
    return Key(family, name, tuple(sorted(labels.items())), text)


@lru_cache(maxsize=20_000)
def _head(name: str, labels: Labels) -> str:
    if not labels:
        return name
    pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels)
    return f"{name}{{{pairs}}}"


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
