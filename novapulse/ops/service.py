"""Use cases of whoever runs the appliance."""

from novapulse import __version__
from novapulse.core import health
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.health import Health
from novapulse.ops.model import HealthReport


async def health_report(ctx: Context) -> HealthReport:
    """The status for everybody, its reasons for those who may read the system's state."""
    watch = ctx.runtime.feature(Health)
    checks = await watch.checks()
    status = health.overall(checks)
    if ctx.principal.grant(Scope.SYSTEM_READ) is None:
        return HealthReport(status=status)
    return HealthReport(
        status=status, checks=checks, version=__version__, uptime_seconds=watch.uptime_seconds
    )
