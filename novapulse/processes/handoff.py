"""The environment variables by which the supervisor's side tells its children what to be."""

HANDOFF = "NOVAPULSE_HANDOFF"  # path of the resolved settings
INSTANCE = "NOVAPULSE_INSTANCE"  # name of the incarnation, as metrics and logs carry it
LOG_FORMAT = "NOVAPULSE_LOG_FORMAT"  # json or pretty, where the settings say auto
