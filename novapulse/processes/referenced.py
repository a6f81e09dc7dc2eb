"""The files that settings point to: a reload also sees that what is in one has changed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from novapulse.core.settings.sections import Settings
from novapulse.core.settings.tree import DECLARATIONS, Change, values_of

FILE_KEYS = tuple(name for name in DECLARATIONS if name.endswith("_file"))

# Key to what its file holds: a digest, or "" for none that can be read.
Digests = Mapping[str, str]


def digests(settings: Settings) -> Digests:
    """Of every file that is named in `settings`."""
    values = values_of(settings)
    return {key: _digest(str(values[key])) for key in FILE_KEYS if values[key]}


def rewritten(
    before: Digests, after: Digests, *, changed: tuple[Change, ...]
) -> tuple[Change, ...]:
    """The keys whose file has changed inside, as changes; those in `changed` are told already."""
    told = {change.key for change in changed}
    return tuple(
        Change(key, DECLARATIONS[key].key.reload)
        for key in after
        if key not in told and before.get(key) != after[key]
    )


def _digest(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
