"""The settings of workflows and their runs."""

from typing import Annotated

from novapulse.core.settings.declare import Key, Reload, Section


class Workflows(Section, frozen=True, kw_only=True):
    max_runs_per_minute: Annotated[
        int,
        Key(
            help="Runs that one workflow may have started within a minute; more are skipped.",
            reload=Reload.LIVE,
            unit="runs",
            minimum=1,
            maximum=10_000,
        ),
    ] = 100
    step_timeout_seconds: Annotated[
        float,
        Key(
            help="Deadline of one attempt at one step.",
            reload=Reload.LIVE,
            unit="seconds",
            minimum=1,
            maximum=120,
        ),
    ] = 30.0
    run_keep_days: Annotated[
        int,
        Key(
            help="How long runs that have ended are kept.",
            reload=Reload.LIVE,
            unit="days",
            minimum=1,
            maximum=3_650,
        ),
    ] = 30
