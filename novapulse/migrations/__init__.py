"""Every migration, in order; each lives in a module of its own number."""

from novapulse.core.migrate import Migration

MIGRATIONS: tuple[Migration, ...] = ()
