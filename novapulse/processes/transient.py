"""Collections that no backup holds, and those that a restore may find filled.

The former say something about this moment or this machine only; the latter are filled by a
program that was started and nothing more.
"""

from novapulse.alerts.store import ALERTS
from novapulse.backup.store import BACKUPS
from novapulse.core.jobs.claims import CLAIMS
from novapulse.core.jobs.periodic import PERIODIC
from novapulse.core.jobs.presence import CONSUMERS
from novapulse.core.jobs.stats import SNAPSHOTS
from novapulse.core.leader import LEASES
from novapulse.core.migrate import RESTORING
from novapulse.core.samekeys import INSTALLATION
from novapulse.identity.store import ATTEMPTS, SESSIONS, TICKETS
from novapulse.mail.store import SUPPRESSIONS

# Sessions and links by mail may have been ended after the backup: they must not come back
# to life with it. Everybody signs in again.
TRANSIENT = frozenset(
    {LEASES, CONSUMERS, PERIODIC, SNAPSHOTS, RESTORING, INSTALLATION, SESSIONS, TICKETS, ATTEMPTS}
)
# Before there is a company only alerts are mailed: claims are of such mails, and refused
# addresses were theirs. The next alert finds out again.
MACHINERY = TRANSIENT | {ALERTS, BACKUPS, CLAIMS, SUPPRESSIONS}
