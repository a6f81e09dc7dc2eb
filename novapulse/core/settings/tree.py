"""The tree of settings as a flat table of full names, and back."""

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from novapulse.core.settings.declare import Reload, Section, declarations_of, sections_of
from novapulse.core.settings.sections import Settings

S = TypeVar("S", bound=Section)

DEFAULTS = Settings()
DECLARATIONS = {declaration.name: declaration for declaration in declarations_of(DEFAULTS)}
SECTIONS = dict(sections_of(DEFAULTS))


@dataclass(frozen=True, slots=True)
class Change:
    """A key that differs between two configurations, and what a reload does about it."""

    key: str
    reload: Reload


def values_of(section: Section, prefix: str = "") -> dict[str, object]:
    """Full names to values, in declared order."""
    flat: dict[str, object] = {}
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        name = prefix + field.encode_name
        if isinstance(value, Section):
            flat.update(values_of(value, name + "."))
        else:
            flat[name] = value
    return flat


def with_values(section: S, values: dict[str, object], prefix: str = "") -> S:
    """`section` with the values of a flat table put in; names that it lacks are ignored."""
    changed: dict[str, object] = {}
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        name = prefix + field.encode_name
        if isinstance(value, Section):
            changed[field.name] = with_values(value, values, name + ".")
        elif name in values:
            changed[field.name] = values[name]
    return msgspec.structs.replace(section, **changed)


def changes(old: Settings, new: Settings) -> tuple[Change, ...]:
    """The keys that a reload from `old` to `new` has to act on."""
    before, after = values_of(old), values_of(new)
    return tuple(
        Change(name, DECLARATIONS[name].key.reload)
        for name in DECLARATIONS
        if before[name] != after[name]
    )
