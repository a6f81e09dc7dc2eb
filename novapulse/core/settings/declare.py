"""How a setting is declared, and the list of all declarations that follows from it.

A section is a frozen struct; a key is one annotated field of it. Loading, the
example file, the reference page and `config explain` read nothing else.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, get_args, get_origin

import msgspec

from novapulse.core.settings.rates import Rate

# A text check returns the value in its one spelling or raises ValueError with a sentence.
TextCheck = Callable[[str], str]


class Reload(StrEnum):
    """What a reload does with a changed key."""

    LIVE = "live"
    SLOTS = "adds or drains processes"
    API = "rolls api"
    CONSUMERS = "rolls consumers"
    BOTH = "rolls api and consumers"
    REBIND = "binds anew and rolls api"
    RESTART = "needs restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The facts about a setting that its type and default can not say.

    `secret` values are never printed whole.
    """

    help: str
    reload: Reload
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    check: TextCheck | None = None
    secret: bool = False


@dataclass(frozen=True, slots=True)
class About:
    """One sentence about a section."""

    text: str


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file. It never shows its values, so a log line can not leak a secret."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} settings>"


@dataclass(frozen=True, slots=True)
class Declaration:
    """One setting by its full name, such as `queues.email.attempts`."""

    name: str
    type: type
    choices: tuple[str, ...]
    default: object
    key: Key

    @property
    def section(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def environment_name(self) -> str:
        return "NOVAPULSE__" + self.name.upper().replace(".", "__")

    @property
    def wanted(self) -> str:
        """The type as a message says it: `expected an integer`."""
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        words: dict[type, str] = {
            bool: "true or false",
            int: "an integer",
            float: "a number",
            str: "a string",
            tuple: "a list of strings",
            Rate: "a rate such as 100/minute",
        }
        return words[self.type]

    @property
    def range(self) -> str:
        """`1 to 64 seconds`, or "" for what has no range."""
        if self.key.minimum is None or self.key.maximum is None:
            return ""
        return f"{self.key.minimum:,} to {self.key.maximum:,} {self.key.unit}".rstrip()


def declarations_of(section: msgspec.Struct, prefix: str = "") -> Iterator[Declaration]:
    """Every setting below `section`; the values in it are the defaults."""
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        name = prefix + field.encode_name
        if isinstance(value, Section):
            yield from declarations_of(value, name + ".")
        else:
            yield _declaration(name, field.type, value)


def sections_of(section: msgspec.Struct, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(`queues.email`, what it is about) for every table below `section`, in order."""
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, Section):
            about = next(m for m in field.type.__metadata__ if isinstance(m, About))
            yield prefix + field.encode_name, about.text
            yield from sections_of(value, prefix + field.encode_name + ".")


def _declaration(name: str, annotated: object, default: object) -> Declaration:
    if get_origin(annotated) is not Annotated:
        raise TypeError(f"{name} is declared without a Key")
    plain, *extras = get_args(annotated)
    key = next(extra for extra in extras if isinstance(extra, Key))
    origin = get_origin(plain)
    choices = get_args(plain) if origin is Literal else ()
    return Declaration(name, str if choices else origin or plain, choices, default, key)
