"""How a list of tasks is read: which index, with which filter, in which order.

Chosen here and not by the database, so that a page costs the same on the day
that the company has 100,000 tasks. An index is good for a list when its fields
after the company's are all fixed and the order's follow: the rows then come in
order and nothing is sorted. A status or priority that nobody asked for is
fixed to all that there are; the database merges these few scans.
"""

from dataclasses import dataclass
from typing import Any

from novapulse.core.errors import Invalid
from novapulse.core.fields import in_utc
from novapulse.core.mongo import Document
from novapulse.core.paging import NEWEST, Order
from novapulse.work.model import Priority, Status, TaskQuery
from novapulse.work.words import LONGEST, words

SOONEST = Order("dueAt", "due_at", 1, mark="d")

# Fields that are kept with a task for its lists, and that nobody is shown.
PARTIES, BEGINNINGS, LONG_WORDS = "parties", "beginnings", "longWords"

# By order: the index and its fields between the company's and the order's, the best first.
_FIELDS: dict[Order, dict[str, tuple[str, ...]]] = {
    NEWEST: {
        "party": (PARTIES, "status"),
        "beginning": (BEGINNINGS,),
        "assignee": ("assigneeId", "status"),
        "project": ("projectId", "status"),
        "label": ("labels",),
        "status": ("status", "priority"),
        "newest": (),
    },
    SOONEST: {
        "party_due": (PARTIES,),
        "project_due": ("projectId",),
        "status_due": ("status",),
    },
}
_ALL: dict[str, list[str]] = {
    "status": [str(one) for one in Status],
    "priority": [str(one) for one in Priority],
}

INDEXES: tuple[dict[str, Any], ...] = tuple(
    {"name": name, "keys": [("companyId", 1), *((field, 1) for field in fields), *order.sort]}
    for order, indexes in _FIELDS.items()
    for name, fields in indexes.items()
)


@dataclass(frozen=True, slots=True)
class Scan:
    where: Document
    order: Order
    index: str


def order_of(query: TaskQuery) -> Order:
    """Newest first; a list that is asked when its tasks are due begins with the soonest."""
    return SOONEST if query.due_after is not None or query.due_before is not None else NEWEST


def scan_of(query: TaskQuery, *, own: str | None = None) -> Scan:
    """How the query is read; `own` narrows to what this user created or is assigned to.

    Raises Invalid for a cursor of another list, a search without a word, or a
    moment that can not be.
    """
    order = order_of(query)
    wanted = _wanted(query)
    fixed = _fixed(query, own, wanted)
    if order is SOONEST and own is None and query.assignee_id is not None:
        fixed[PARTIES] = query.assignee_id  # an assignee is a party, and that has an index
    index, fields = _choose(order, fixed)
    filled = {name: {"$in": _ALL[name]} for name in fields if name not in fixed}
    parts = [*_search(wanted), *_due(query), *order.beyond(query.cursor)]
    where: Document = {**fixed, **filled}
    return Scan({**where, "$and": parts} if parts else where, order, index)


def _wanted(query: TaskQuery) -> list[str]:
    """The words of the search, the longest first: it leads the way through the index."""
    if query.q is None:
        return []
    wanted = sorted(words(query.q), key=len, reverse=True)
    if not wanted:
        raise Invalid.field("q", "has no word in it")
    return wanted


def _fixed(query: TaskQuery, own: str | None, wanted: list[str]) -> Document:
    named = {
        PARTIES: own,
        BEGINNINGS: wanted[0][:LONGEST] if wanted else None,
        "status": query.status and str(query.status),
        "priority": query.priority and str(query.priority),
        "projectId": query.project_id,
        "assigneeId": query.assignee_id,
        "labels": query.label,
    }
    return {name: value for name, value in named.items() if value is not None}


def _due(query: TaskQuery) -> list[Document]:
    span: Document = {}
    if query.due_after is not None:
        span["$gte"] = in_utc(query.due_after, "dueAfter")
    if query.due_before is not None:
        span["$lt"] = in_utc(query.due_before, "dueBefore")
    return [{"dueAt": span}] if span else []


def _search(wanted: list[str]) -> list[Document]:
    """What is left to ask of a row: the other words, and what long ones end in."""
    parts: list[Document] = [{BEGINNINGS: word[:LONGEST]} for word in wanted[1:]]
    for word in wanted:
        if len(word) > LONGEST:
            begins = {"$gte": word, "$lt": word + "\U0010ffff"}
            parts.append({LONG_WORDS: {"$elemMatch": begins}})
    return parts


def _choose(order: Order, fixed: Document) -> tuple[str, tuple[str, ...]]:
    """The best index that the fixed fields lead into, else the order's last, which takes all."""
    indexes = _FIELDS[order]
    chosen = next((name for name, fields in indexes.items() if _leads(fixed, fields)), None)
    name = chosen or list(indexes)[-1]
    return name, indexes[name]


def _leads(fixed: Document, fields: tuple[str, ...]) -> bool:
    """Whether all fields are fixed but those that can be filled; one at least."""
    needed = [field for field in fields if field not in _ALL]
    return all(field in fixed for field in needed) and any(field in fixed for field in fields)
