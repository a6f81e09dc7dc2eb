"""What is told of an export."""

from typing import Any

import msgspec

from novapulse.core.events import Event, event


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows somebody took away; `id` is what of: users, tasks, projects or audit."""

    id: str
    format: str
    filter: dict[str, Any]


@event("export.created", is_public=False)
class ExportCreated(Event, frozen=True, kw_only=True):
    export: Export
