"""Who may do what: the one table of roles and scopes that enforces and documents.

A scope is a permission; an API token carries some of its owner's. Routes name
the scope they need, services narrow a grant that does not reach everything.
The page docs/concepts/tenancy-and-roles.md shows this table; a test compares.
"""

from dataclasses import dataclass
from enum import StrEnum

from novapulse.core.errors import Forbidden


class Role(StrEnum):
    SUPER_ADMIN = "super_admin"
    COMPANY_ADMIN = "company_admin"
    MANAGER = "manager"
    USER = "user"

    @property
    def rank(self) -> int:
        """Lower may do less."""
        return len(Role) - 1 - list(Role).index(self)


class Scope(StrEnum):
    PROFILE = "profile"
    API_TOKENS = "api_tokens"
    COMPANIES_READ = "companies:read"
    COMPANIES_WRITE = "companies:write"
    COMPANY_READ = "company:read"
    COMPANY_STATS = "company:stats"
    COMPANY_WRITE = "company:write"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    USERS_DISABLE = "users:disable"
    USERS_ADMIN = "users:admin"
    INVITES_READ = "invites:read"
    INVITES_WRITE = "invites:write"
    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    TASKS_DELETE = "tasks:delete"
    PROJECTS_READ = "projects:read"
    PROJECTS_WRITE = "projects:write"
    DEPARTMENTS_READ = "departments:read"
    DEPARTMENTS_WRITE = "departments:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    WORKFLOWS_READ = "workflows:read"
    WORKFLOWS_WRITE = "workflows:write"
    WORKFLOWS_RUN = "workflows:run"
    REPORTS_READ = "reports:read"
    REPORTS_WRITE = "reports:write"
    EXPORTS_READ = "exports:read"
    AUDIT_READ = "audit:read"
    QUEUE_READ = "queue:read"
    QUEUE_WRITE = "queue:write"
    SYSTEM_READ = "system:read"


class Grant(StrEnum):
    """How far a scope reaches.

    ALL: everything, within the company where there is one. LED: people whose
    leader the caller is, and the caller. OWN: the caller's own. HEADER: what a
    company_admin may, on the company that the X-NovaPulse-Company header names.
    """

    ALL = "all"
    LED = "led"
    OWN = "own"
    HEADER = "header"


_ALL, _LED, _OWN, _HEADER, _NO = Grant.ALL, Grant.LED, Grant.OWN, Grant.HEADER, None
Row = tuple[Grant | None, Grant | None, Grant | None, Grant | None]

# One line a scope; the columns are super_admin, company_admin, manager and user.
TABLE: dict[Scope, Row] = {
    Scope.PROFILE: (_OWN, _OWN, _OWN, _OWN),
    Scope.API_TOKENS: (_OWN, _OWN, _OWN, _OWN),
    Scope.COMPANIES_READ: (_ALL, _NO, _NO, _NO),
    Scope.COMPANIES_WRITE: (_ALL, _NO, _NO, _NO),
    Scope.COMPANY_READ: (_HEADER, _ALL, _ALL, _ALL),
    Scope.COMPANY_STATS: (_HEADER, _ALL, _ALL, _NO),
    Scope.COMPANY_WRITE: (_HEADER, _ALL, _NO, _NO),
    Scope.USERS_READ: (_HEADER, _ALL, _ALL, _OWN),
    Scope.USERS_WRITE: (_HEADER, _ALL, _LED, _OWN),
    Scope.USERS_DISABLE: (_HEADER, _ALL, _LED, _NO),
    Scope.USERS_ADMIN: (_HEADER, _ALL, _NO, _NO),
    Scope.INVITES_READ: (_HEADER, _ALL, _LED, _NO),
    Scope.INVITES_WRITE: (_HEADER, _ALL, _LED, _NO),
    Scope.TASKS_READ: (_HEADER, _ALL, _ALL, _OWN),
    Scope.TASKS_WRITE: (_HEADER, _ALL, _ALL, _OWN),
    Scope.TASKS_DELETE: (_HEADER, _ALL, _ALL, _NO),
    Scope.PROJECTS_READ: (_HEADER, _ALL, _ALL, _ALL),
    Scope.PROJECTS_WRITE: (_HEADER, _ALL, _ALL, _NO),
    Scope.DEPARTMENTS_READ: (_HEADER, _ALL, _ALL, _ALL),
    Scope.DEPARTMENTS_WRITE: (_HEADER, _ALL, _NO, _NO),
    Scope.WEBHOOKS_READ: (_HEADER, _ALL, _ALL, _NO),
    Scope.WEBHOOKS_WRITE: (_HEADER, _ALL, _NO, _NO),
    Scope.WORKFLOWS_READ: (_HEADER, _ALL, _ALL, _ALL),
    Scope.WORKFLOWS_WRITE: (_HEADER, _ALL, _ALL, _NO),
    Scope.WORKFLOWS_RUN: (_HEADER, _ALL, _ALL, _NO),
    Scope.REPORTS_READ: (_HEADER, _ALL, _OWN, _OWN),
    Scope.REPORTS_WRITE: (_HEADER, _ALL, _OWN, _OWN),
    Scope.EXPORTS_READ: (_ALL, _ALL, _ALL, _ALL),  # as far as the scope of what is exported
    Scope.AUDIT_READ: (_ALL, _ALL, _NO, _NO),
    Scope.QUEUE_READ: (_ALL, _OWN, _NO, _NO),
    Scope.QUEUE_WRITE: (_ALL, _NO, _NO, _NO),
    Scope.SYSTEM_READ: (_ALL, _NO, _NO, _NO),
}
_COLUMNS = {role: column for column, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is acting: a person in a session or by an API token, or the program itself.

    `company_id` is None for an operator that named no company; `scopes` is None
    unless an API token narrows what its owner may.
    """

    user_id: str
    role: Role
    company_id: str | None = None
    session_id: str | None = None
    is_operator: bool = False
    scopes: frozenset[Scope] | None = None

    def grant(self, scope: Scope) -> Grant | None:
        """How far `scope` reaches for this principal (never HEADER); None: not at all."""
        if self.scopes is not None and scope not in self.scopes:
            return None
        granted = cell(scope, self.role)
        if granted is not Grant.HEADER:
            return granted
        return cell(scope, Role.COMPANY_ADMIN) if self.company_id is not None else None

    def require(self, scope: Scope) -> Grant:
        """How far `scope` reaches; raises Forbidden when not at all."""
        granted = self.grant(scope)
        if granted is not None:
            return granted
        if self.scopes is not None and scope not in self.scopes:
            raise Forbidden(f"This API token does not have the scope {scope}")
        if cell(scope, self.role) is Grant.HEADER:
            raise Forbidden("Name the company to act on in the X-NovaPulse-Company header")
        raise Forbidden()


def cell(scope: Scope, role: Role) -> Grant | None:
    """What the table says."""
    return TABLE[scope][_COLUMNS[role]]


def scopes_of(role: Role) -> frozenset[Scope]:
    """All that an API token of somebody in this role may carry."""
    return frozenset(scope for scope in Scope if cell(scope, role) is not None)


SYSTEM = Principal(user_id="system", role=Role.SUPER_ADMIN, is_operator=True)
