"""The table of features: their routes, indexes and planners, each named once."""

from collections.abc import Sequence

from novapulse.audit import routes as audit_routes
from novapulse.audit import store as audit_store
from novapulse.core import idempotency, pump
from novapulse.core.events import EVENTS
from novapulse.core.jobs import ledger, presence
from novapulse.core.jobs import rows as job_rows
from novapulse.core.jobs.kinds import Queue, queues_with_kinds
from novapulse.core.jobs.rows import JOBS
from novapulse.core.migrate import IndexTable
from novapulse.core.routing import Route
from novapulse.core.sealed import SealedField
from novapulse.identity import factors
from novapulse.identity import store as identity_store
from novapulse.invites import routes as invite_routes
from novapulse.invites import store as invite_store
from novapulse.mail import jobs as mail_jobs
from novapulse.ops import queue_routes
from novapulse.ops import routes as ops_routes
from novapulse.people import routes as people_routes
from novapulse.people import store as people_store
from novapulse.signin import routes as signin_routes
from novapulse.signin import store as signin_store
from novapulse.webhooks import jobs as webhook_jobs
from novapulse.webhooks import planner
from novapulse.webhooks import routes as webhook_routes
from novapulse.webhooks import sealed as webhook_secrets
from novapulse.webhooks import store as webhook_store
from novapulse.work import routes as work_routes
from novapulse.work import store as work_store

ROUTES: Sequence[Route] = (
    *signin_routes.routes.declared,
    *people_routes.routes.declared,
    *invite_routes.routes.declared,
    *work_routes.routes.declared,
    *webhook_routes.routes.declared,
    *audit_routes.routes.declared,
    *queue_routes.routes.declared,
    *ops_routes.routes.declared,
)

INDEXES: IndexTable = {
    EVENTS: (*pump.INDEXES, *audit_store.EVENT_INDEXES),
    JOBS: ledger.INDEXES,
    presence.CONSUMERS: presence.INDEXES,
    idempotency.COLLECTION: idempotency.INDEXES,
    **identity_store.INDEXES,
    **signin_store.INDEXES,
    **people_store.INDEXES,
    **invite_store.INDEXES,
    **work_store.INDEXES,
    **webhook_store.INDEXES,
    **audit_store.INDEXES,
}

# All that is sealed or signed by the data keys, for checking and rotating them.
SEALED: Sequence[SealedField] = (
    *job_rows.SEALED,
    *idempotency.SEALED,
    *factors.SEALED,
    *webhook_secrets.SEALED,
    *audit_store.SEALED,
)

PLANNERS: Sequence[pump.Planner] = (planner.plan_deliveries,)

# Importing a module of job kinds declares them on their queue's Huey instance.
JOB_MODULES = (mail_jobs, webhook_jobs)


def declared_queues() -> list[Queue]:
    """The queues that have job kinds, now that `JOB_MODULES` are imported."""
    return queues_with_kinds()
