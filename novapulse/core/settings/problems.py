"""What is wrong with a configuration: every problem at once, never only the first."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from novapulse.core.errors import ConfigurationInvalid


@dataclass(frozen=True, slots=True)
class Problem:
    """One line to fix: the key (or ""), what is wrong, where it stands, what to try."""

    key: str
    detail: str
    where: str
    hint: str


class SettingsInvalid(ConfigurationInvalid):
    """All the problems that one attempt to load found, in the order of the sources.

    `where` and `hint` are the first problem's; the message holds them all.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        detail = first.detail
        if len(self.problems) > 1:
            others = "; ".join(f"{p.detail} ({p.where})" for p in self.problems[1:])
            detail = f"{detail}; and {others}"
        super().__init__(detail, where=first.where, hint=first.hint)


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that `name` was probably meant to be, or "".

    A bare key finds its section too: `listen` is `server.listen`.
    """
    names = list(known)
    close = get_close_matches(name, names, n=1, cutoff=0.75)
    if close:
        return close[0]
    last = name.rpartition(".")[2]
    same_last = [known for known in names if known.rpartition(".")[2] == last]
    if len(same_last) == 1:
        return same_last[0]
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    return close[0] if close else ""
