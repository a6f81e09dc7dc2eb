"""The table of features: their routes, indexes and planners, each named once."""

from collections.abc import Awaitable, Callable, Sequence

from novapulse.alerts import certificates
from novapulse.alerts import service as alerting
from novapulse.audit import routes as audit_routes
from novapulse.audit import rows as audit_rows
from novapulse.audit import store as audit_store
from novapulse.backup import gauge as backup_gauge
from novapulse.core import idempotency, pump
from novapulse.core.context import Runtime
from novapulse.core.events import EVENTS
from novapulse.core.jobs import claims, ledger, presence
from novapulse.core.jobs import rows as job_rows
from novapulse.core.jobs.kinds import Queue, queues_with_kinds
from novapulse.core.jobs.rows import JOBS
from novapulse.core.migrate import IndexTable
from novapulse.core.routing import Route
from novapulse.core.sealed import SealedField
from novapulse.deliveries import jobs as delivery_jobs
from novapulse.deliveries import planner as delivery_planner
from novapulse.deliveries import store as delivery_store
from novapulse.deliveries import sweeping as delivery_sweeping
from novapulse.departments import routes as department_routes
from novapulse.departments import store as department_store
from novapulse.dispatch import jobs as dispatch_jobs
from novapulse.dispatch import queue as dispatch_queue
from novapulse.exports import routes as export_routes
from novapulse.identity import factors
from novapulse.identity import store as identity_store
from novapulse.invites import jobs as invite_jobs
from novapulse.invites import planner as invite_planner
from novapulse.invites import routes as invite_routes
from novapulse.invites import store as invite_store
from novapulse.mail import jobs as mail_jobs
from novapulse.mail import store as mail_store
from novapulse.notifications import jobs as notification_jobs
from novapulse.notifications import planner as notification_planner
from novapulse.notifications import routes as notification_routes
from novapulse.notifications import store as notification_store
from novapulse.ops import queue_routes
from novapulse.ops import routes as ops_routes
from novapulse.people import routes as people_routes
from novapulse.people import rows as people_rows
from novapulse.people import store as people_store
from novapulse.projects import routes as project_routes
from novapulse.projects import rows as project_rows
from novapulse.projects import store as project_store
from novapulse.reports import jobs as report_jobs
from novapulse.reports import routes as report_routes
from novapulse.reports import store as report_store
from novapulse.reports import sweeping
from novapulse.runs import actions as run_actions
from novapulse.runs import jobs as run_jobs
from novapulse.runs import planner as run_planner
from novapulse.runs import routes as run_routes
from novapulse.runs import store as run_store
from novapulse.schedules import routes as schedule_routes
from novapulse.schedules import service as schedules
from novapulse.schedules import store as schedule_store
from novapulse.signin import routes as signin_routes
from novapulse.signin import store as signin_store
from novapulse.subscriptions import routes as subscription_routes
from novapulse.subscriptions import sealed as subscription_secrets
from novapulse.subscriptions import store as subscription_store
from novapulse.webhooks import routes as webhook_routes
from novapulse.webhooks import rows as webhook_rows
from novapulse.webhooks import store as webhook_store
from novapulse.work import actions as work_actions
from novapulse.work import routes as work_routes
from novapulse.work import rows as work_rows
from novapulse.work import store as work_store
from novapulse.workflows import actions as workflow_actions
from novapulse.workflows import routes as workflow_routes
from novapulse.workflows import store as workflow_store

# Importing a module of rows declares what can be exported and reported on.
SOURCE_MODULES = (audit_rows, people_rows, project_rows, webhook_rows, work_rows)

ROUTES: Sequence[Route] = (
    *signin_routes.routes.declared,
    *people_routes.routes.declared,
    *invite_routes.routes.declared,
    *project_routes.routes.declared,
    *work_routes.routes.declared,
    *department_routes.routes.declared,
    *notification_routes.routes.declared,
    *subscription_routes.routes.declared,
    *webhook_routes.routes.declared,
    *workflow_routes.routes.declared,
    *run_routes.routes.declared,
    *export_routes.make_routes().declared,
    *report_routes.routes.declared,
    *schedule_routes.routes.declared,
    *audit_routes.routes.declared,
    *queue_routes.routes.declared,
    *ops_routes.routes.declared,
)

INDEXES: IndexTable = {
    EVENTS: (*pump.INDEXES, *audit_store.EVENT_INDEXES),
    JOBS: (*ledger.INDEXES, *dispatch_queue.INDEXES),
    claims.CLAIMS: claims.INDEXES,
    presence.CONSUMERS: presence.INDEXES,
    idempotency.COLLECTION: idempotency.INDEXES,
    **identity_store.INDEXES,
    **signin_store.INDEXES,
    **people_store.INDEXES,
    **invite_store.INDEXES,
    **project_store.INDEXES,
    **work_store.INDEXES,
    **department_store.INDEXES,
    **notification_store.INDEXES,
    **mail_store.INDEXES,
    **subscription_store.INDEXES,
    # One feature writes these, another reads them: each has indexes of its own.
    **{
        collection: (*declared, *webhook_store.INDEXES.get(collection, ()))
        for collection, declared in delivery_store.INDEXES.items()
    },
    **workflow_store.INDEXES,
    **run_store.INDEXES,
    **report_store.INDEXES,
    **schedule_store.INDEXES,
    **audit_store.INDEXES,
}

# All that is sealed or signed by the data keys, for checking and rotating them.
SEALED: Sequence[SealedField] = (
    *job_rows.SEALED,
    *idempotency.SEALED,
    *factors.SEALED,
    *subscription_secrets.SEALED,
    *audit_store.SEALED,
)

PLANNERS: Sequence[pump.Planner] = (
    delivery_planner.plan_deliveries,
    invite_planner.plan_withdrawals,
    notification_planner.plan_notifications,
    run_planner.plan_runs,
)

# Importing a module of job kinds declares them on their queue's Huey instance.
JOB_MODULES = (
    *(mail_jobs, invite_jobs, delivery_jobs, dispatch_jobs),
    *(notification_jobs, run_jobs, report_jobs),
)

# Importing a module of actions declares what workflows can have done.
ACTION_MODULES = (work_actions, workflow_actions, run_actions)

# What the leading scheduler does beside its own, and the seconds between; a repeat is harmless.
CHORES: Sequence[tuple[Callable[[Runtime], Awaitable[object]], float]] = (
    (sweeping.sweep, 15.0),
    (delivery_sweeping.sweep, 60.0),
    (schedules.start_due, 15.0),
    (backup_gauge.show_ages, 15.0),
    (alerting.evaluate, alerting.EVALUATE_SECONDS),
    (certificates.look, certificates.LOOK_SECONDS),
)


def declared_queues() -> list[Queue]:
    """The queues that have job kinds, now that `JOB_MODULES` are imported."""
    return queues_with_kinds()
