"""Every migration, in order."""

from novapulse.core.migrate import Migration

MIGRATIONS: tuple[Migration, ...] = ()
