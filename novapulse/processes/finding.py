"""One thing that `novapulse doctor` looked at."""

from dataclasses import asdict, dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "bad", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, why that is so, and what to do; `skipped` could not be looked at."""

    name: str
    verdict: Verdict
    found: str
    cause: str = ""
    fix: str = ""

    def as_document(self) -> dict[str, str]:
        return asdict(self)


def ok(name: str, found: str) -> Finding:
    return Finding(name, "ok", found)


def skipped(name: str, found: str) -> Finding:
    return Finding(name, "skipped", found)


def warn(name: str, found: str, *, cause: str, fix: str) -> Finding:
    return Finding(name, "warn", found, cause, fix)


def bad(name: str, found: str, *, cause: str, fix: str) -> Finding:
    return Finding(name, "bad", found, cause, fix)
