"""A company's people, for those that carry rows away."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.sources import Selection, View, plain_row, source
from novapulse.identity.store import USERS
from novapulse.people.model import AccountStatus, CompanyRole
from novapulse.people.store import present

_COLUMNS = (
    *("id", "name", "email", "role", "status", "managerId"),
    *("createdAt", "updatedAt"),
)


class UserSelection(Selection, frozen=True, kw_only=True):
    role: CompanyRole | None = None
    status: AccountStatus | None = None


@source("users", scope=Scope.USERS_READ, columns=_COLUMNS)
def users(ctx: Context, chosen: UserSelection, own: str | None) -> View:
    """Never what anybody signs in with."""
    where = {**chosen.span(), **present(role=chosen.role, status=chosen.status, _id=own)}
    return View(ctx.read_bulk().rows(USERS), where, plain_row(_COLUMNS), "company", _COLUMNS)
