"""The section of the audit log."""

from typing import Annotated

from novapulse.core.settings.declare import Key, Reload, Section


class Audit(Section, frozen=True, kw_only=True):
    keep_days: Annotated[
        int,
        Key(
            help="How long audit lines (events) are kept; "
            "at least as long as webhooks.delivery_keep_days.",
            reload=Reload.LIVE,
            unit="days",
            minimum=1,
            maximum=36_500,
        ),
    ] = 365
