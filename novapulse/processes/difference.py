"""How two configurations differ, for people and scripts; secrets are starred out."""

from collections.abc import Iterable, Mapping

from novapulse.core.settings import Loaded
from novapulse.core.settings.redact import shown
from novapulse.core.settings.render import toml_value
from novapulse.core.settings.tree import DECLARATIONS, Change, values_of


def described(changed: Iterable[Change], old: Loaded, new: Loaded) -> list[dict[str, str]]:
    """Each changed key with its class, both values and where the new one comes from."""
    before, after = values_of(old.settings), values_of(new.settings)

    def text(values: Mapping[str, object], key: str) -> str:
        return toml_value(shown(DECLARATIONS[key], values[key]))

    return [
        {
            "key": change.key,
            "reload": str(change.reload),
            "before": text(before, change.key),
            "after": text(after, change.key),
            "origin": new.origins[change.key],
        }
        for change in changed
    ]
