"""Collections that no backup holds: what they say is about this moment or this machine only."""

from novapulse.core.jobs.periodic import PERIODIC
from novapulse.core.jobs.presence import CONSUMERS
from novapulse.core.jobs.stats import SNAPSHOTS
from novapulse.core.leader import LEASES
from novapulse.core.migrate import RESTORING
from novapulse.core.samekeys import INSTALLATION
from novapulse.identity.store import ATTEMPTS, SESSIONS, TICKETS

# Sessions and links by mail may have been ended after the backup: they must not come back
# to life with it. Everybody signs in again.
TRANSIENT = frozenset(
    {LEASES, CONSUMERS, PERIODIC, SNAPSHOTS, RESTORING, INSTALLATION, SESSIONS, TICKETS, ATTEMPTS}
)
