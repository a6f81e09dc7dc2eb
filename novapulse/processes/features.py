"""The table of features: their routes, indexes and planners, each named once."""

from collections.abc import Sequence

from novapulse.core import idempotency, pump
from novapulse.core.events import EVENTS
from novapulse.core.jobs import ledger
from novapulse.core.jobs.rows import JOBS
from novapulse.core.migrate import IndexTable
from novapulse.core.routing import Route
from novapulse.identity import routes as identity_routes
from novapulse.identity import store as identity_store
from novapulse.ops import routes as ops_routes
from novapulse.webhooks import jobs as webhook_jobs
from novapulse.webhooks import planner
from novapulse.webhooks import routes as webhook_routes
from novapulse.webhooks import store as webhook_store
from novapulse.work import routes as work_routes
from novapulse.work import store as work_store

ROUTES: Sequence[Route] = (
    *identity_routes.routes.declared,
    *work_routes.routes.declared,
    *webhook_routes.routes.declared,
    *ops_routes.routes.declared,
)

INDEXES: IndexTable = {
    EVENTS: pump.INDEXES,
    JOBS: ledger.INDEXES,
    ledger.CONSUMERS: ledger.CONSUMER_INDEXES,
    idempotency.COLLECTION: idempotency.INDEXES,
    **identity_store.INDEXES,
    **work_store.INDEXES,
    **webhook_store.INDEXES,
}

PLANNERS: Sequence[pump.Planner] = (planner.plan_deliveries,)

# Importing a module of job kinds declares them on their queue's Huey instance.
JOB_MODULES = (webhook_jobs,)
