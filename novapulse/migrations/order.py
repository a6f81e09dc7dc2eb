"""Every migration, in order."""

from novapulse.core.migrate import Migration
from novapulse.migrations import m0001_read_tasks_by_parties_and_words as m0001

MIGRATIONS: tuple[Migration, ...] = (m0001.MIGRATION,)
