"""The kinds of reports: what each is made of, and what it takes to ask for one."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from novapulse.core import wire
from novapulse.core.access import Scope
from novapulse.core.errors import FieldError, Invalid
from novapulse.core.sources import SOURCES, Cells, Row, Selection, plain_cells
from novapulse.reports import summaries
from novapulse.reports.charts import Chart
from novapulse.reports.model import ReportKind
from novapulse.reports.summaries import DaySelection, Material


@dataclass(frozen=True, slots=True)
class Kind:
    """`source` is whose rows are listed, or whose query chooses what `summary` reads.

    `query` is asked instead of the source's: it has more that the summary goes by.
    """

    title: str
    scope: Scope
    source: str
    chart: Chart
    columns: tuple[str, ...] = ()
    summary: Callable[[Material], AsyncIterator[list[Row]]] | None = None
    query: type[Selection] | None = None

    def table(self, material: Material) -> "Table":
        """Columns, cells and rows of one report."""
        source = SOURCES[self.source]
        if self.summary is not None:
            return Table(self.columns, plain_cells(self.columns), self.summary(material))
        return Table(source.columns, source.cells, material.batches(self.source))


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[str, ...]
    cells: Cells
    batches: AsyncIterator[list[Row]]


KINDS: dict[ReportKind, Kind] = {
    ReportKind.TASKS_SUMMARY: Kind(
        "Tasks in numbers",
        Scope.TASKS_READ,
        "tasks",
        Chart(
            "Tasks by status",
            lambda row: row["value"] if row["group"] == "status" else None,
            lambda row: int(row["tasks"]),
        ),
        summaries.TASK_COLUMNS,
        summaries.tasks,
    ),
    ReportKind.TASK_LIST: Kind(
        "Tasks",
        Scope.TASKS_READ,
        "tasks",
        Chart("Tasks by status", lambda row: str(row["status"])),
    ),
    ReportKind.USER_ACTIVITY: Kind(
        "What people did",
        Scope.USERS_READ,
        "activity",
        Chart(
            "Actions by person",
            lambda row: str(row["name"] or row["userId"]),
            lambda row: int(row["actions"]),
        ),
        summaries.PEOPLE_COLUMNS,
        summaries.people,
    ),
    ReportKind.WEBHOOK_DELIVERIES: Kind(
        "Webhook deliveries",
        Scope.WEBHOOKS_READ,
        "deliveries",
        Chart("Deliveries by state", lambda row: str(row["state"])),
    ),
    ReportKind.AUDIT: Kind(
        "Audit log",
        Scope.AUDIT_READ,
        "audit",
        Chart("Lines by action", lambda row: str(row["action"])),
    ),
    ReportKind.USAGE: Kind(
        "Use by day",
        Scope.COMPANY_STATS,
        "activity",
        Chart(
            "Events by day",
            lambda row: str(row["day"]),
            lambda row: int(row["events"]),
            is_by_name=True,
        ),
        summaries.DAY_COLUMNS,
        summaries.days,
        DaySelection,
    ),
}


def selection_of(kind: ReportKind, params: dict[str, object]) -> Selection:
    """The params as the kind's query; raises Invalid with paths below `params`."""
    try:
        chosen = wire.convert(params, KINDS[kind].query or SOURCES[KINDS[kind].source].query)
        chosen.span()
        if isinstance(chosen, DaySelection):
            summaries.check_days(chosen)
    except Invalid as error:
        found = tuple(FieldError(f"params.{one.path}", one.message) for one in error.errors)
        raise Invalid(f"params.{error.detail}", found) from error
    return chosen
