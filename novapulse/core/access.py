"""Who may do what: the one table of roles and scopes that enforces and documents.

A scope is a permission; an API token carries a subset of its owner's. Routes
name the scope they need, services narrow an `OWN` grant to the caller's rows.
"""

from dataclasses import dataclass
from enum import StrEnum

from novapulse.core.errors import Forbidden


class Role(StrEnum):
    SUPER_ADMIN = "super_admin"
    COMPANY_ADMIN = "company_admin"
    MANAGER = "manager"
    USER = "user"


class Scope(StrEnum):
    PROFILE = "profile"
    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    QUEUE_READ = "queue:read"
    SYSTEM_READ = "system:read"


class Grant(StrEnum):
    """How far a scope reaches: all of the company's rows, or the caller's own."""

    ALL = "all"
    OWN = "own"


# The operator belongs to no company: on a company's things it acts as its
# company_admin, and only with the X-NovaPulse-Company header.
GRANTS: dict[Role, dict[Scope, Grant]] = {
    Role.SUPER_ADMIN: {
        Scope.PROFILE: Grant.OWN,
        Scope.QUEUE_READ: Grant.ALL,
        Scope.SYSTEM_READ: Grant.ALL,
    },
    Role.COMPANY_ADMIN: {
        Scope.PROFILE: Grant.OWN,
        Scope.TASKS_READ: Grant.ALL,
        Scope.TASKS_WRITE: Grant.ALL,
        Scope.WEBHOOKS_READ: Grant.ALL,
        Scope.WEBHOOKS_WRITE: Grant.ALL,
        Scope.QUEUE_READ: Grant.OWN,
    },
    Role.MANAGER: {
        Scope.PROFILE: Grant.OWN,
        Scope.TASKS_READ: Grant.ALL,
        Scope.TASKS_WRITE: Grant.ALL,
        Scope.WEBHOOKS_READ: Grant.ALL,
    },
    Role.USER: {
        Scope.PROFILE: Grant.OWN,
        Scope.TASKS_READ: Grant.OWN,
        Scope.TASKS_WRITE: Grant.OWN,
    },
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is acting: a person in a session, or the program itself.

    `company_id` is None for an operator that named no company.
    """

    user_id: str
    role: Role
    company_id: str | None = None
    session_id: str | None = None
    is_operator: bool = False

    def grant(self, scope: Scope) -> Grant | None:
        """How far `scope` reaches for this principal; None: not at all."""
        granted = GRANTS[self.role].get(scope)
        if granted is None and self.is_operator and self.company_id is not None:
            return GRANTS[Role.COMPANY_ADMIN].get(scope)
        return granted

    def require(self, scope: Scope) -> Grant:
        """How far `scope` reaches; raises Forbidden when not at all."""
        granted = self.grant(scope)
        if granted is None:
            raise Forbidden()
        return granted


SYSTEM = Principal(user_id="system", role=Role.SUPER_ADMIN, is_operator=True)
