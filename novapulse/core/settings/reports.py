"""The section of reports."""

from typing import Annotated

from novapulse.core.settings.declare import Key, Reload, Section


class Reports(Section, frozen=True, kw_only=True):
    keep_days: Annotated[
        int,
        Key(
            help="How long a finished report can be downloaded.",
            reload=Reload.LIVE,
            unit="days",
            minimum=1,
            maximum=365,
        ),
    ] = 7
