"""The ages of the last backups, as metrics."""

from novapulse.backup.store import BackupLog
from novapulse.core.context import Runtime
from novapulse.core.telemetry import metrics


async def show_ages(runtime: Runtime) -> None:
    """Set the gauges of this process; for the leading scheduler."""
    made, tried = await BackupLog(runtime.db).ages()
    metrics.backup_age_seconds.set(made)
    metrics.backup_verified_age_seconds.set(tried)
