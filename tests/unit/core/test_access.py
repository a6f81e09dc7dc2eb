"""The one table of roles and scopes."""

import pytest

from novapulse.core.access import SYSTEM, Grant, Principal, Role, Scope, cell, scopes_of
from novapulse.core.errors import Forbidden


def person(role: Role, company_id: str | None = "c1", **more: object) -> Principal:
    return Principal(user_id="u1", role=role, company_id=company_id, **more)


# One row a scope: what company_admin, manager and user may do in their company.
EXPECTED = {
    Scope.PROFILE: (Grant.OWN, Grant.OWN, Grant.OWN),
    Scope.COMPANIES_READ: (None, None, None),
    Scope.COMPANIES_WRITE: (None, None, None),
    Scope.COMPANY_READ: (Grant.ALL, Grant.ALL, Grant.ALL),
    Scope.COMPANY_STATS: (Grant.ALL, Grant.ALL, None),
    Scope.COMPANY_WRITE: (Grant.ALL, None, None),
    Scope.USERS_WRITE: (Grant.ALL, Grant.LED, Grant.OWN),
    Scope.USERS_DISABLE: (Grant.ALL, Grant.LED, None),
    Scope.USERS_ADMIN: (Grant.ALL, None, None),
    Scope.INVITES_WRITE: (Grant.ALL, Grant.LED, None),
    Scope.TASKS_READ: (Grant.ALL, Grant.ALL, Grant.OWN),
    Scope.TASKS_WRITE: (Grant.ALL, Grant.ALL, Grant.OWN),
    Scope.TASKS_DELETE: (Grant.ALL, Grant.ALL, None),
    Scope.PROJECTS_READ: (Grant.ALL, Grant.ALL, Grant.ALL),
    Scope.PROJECTS_WRITE: (Grant.ALL, Grant.ALL, None),
    Scope.DEPARTMENTS_READ: (Grant.ALL, Grant.ALL, Grant.ALL),
    Scope.DEPARTMENTS_WRITE: (Grant.ALL, None, None),
    Scope.WEBHOOKS_READ: (Grant.ALL, Grant.ALL, None),
    Scope.WEBHOOKS_WRITE: (Grant.ALL, None, None),
    Scope.WORKFLOWS_READ: (Grant.ALL, Grant.ALL, Grant.ALL),
    Scope.WORKFLOWS_WRITE: (Grant.ALL, Grant.ALL, None),
    Scope.WORKFLOWS_RUN: (Grant.ALL, Grant.ALL, None),
    Scope.REPORTS_READ: (Grant.ALL, Grant.OWN, Grant.OWN),
    Scope.REPORTS_WRITE: (Grant.ALL, Grant.OWN, Grant.OWN),
    Scope.AUDIT_READ: (Grant.ALL, None, None),
    Scope.QUEUE_READ: (Grant.OWN, None, None),
    Scope.QUEUE_WRITE: (None, None, None),
    Scope.SYSTEM_READ: (None, None, None),
}
MEMBERS = (Role.COMPANY_ADMIN, Role.MANAGER, Role.USER)


@pytest.mark.parametrize("scope", EXPECTED)
def test_each_role_may_do_what_the_product_promises(scope: Scope) -> None:
    assert tuple(person(role).grant(scope) for role in MEMBERS) == EXPECTED[scope]


@pytest.mark.parametrize("scope", list(Scope))
def test_every_scope_has_a_cell_for_every_role(scope: Scope) -> None:
    assert all(cell(scope, role) is None or isinstance(cell(scope, role), Grant) for role in Role)
    assert any(cell(scope, role) is not None for role in Role)


@pytest.mark.parametrize("scope", list(Scope))
def test_nobody_in_a_company_is_told_to_send_the_operators_header(scope: Scope) -> None:
    assert all(cell(scope, role) is not Grant.HEADER for role in MEMBERS)


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("role", list(Role))
def test_a_grant_always_says_how_far_it_reaches(scope: Scope, role: Role) -> None:
    for company_id in ("c1", None):
        assert person(role, company_id).grant(scope) is not Grant.HEADER


@pytest.mark.parametrize("scope", list(Scope))
def test_a_lower_role_never_may_more_than_a_higher_one_of_its_company(scope: Scope) -> None:
    reach = {None: 0, Grant.OWN: 1, Grant.LED: 2, Grant.ALL: 3}
    reaches = [reach[person(role).grant(scope)] for role in MEMBERS]
    assert reaches == sorted(reaches, reverse=True)


@pytest.mark.parametrize("scope", [Scope.TASKS_READ, Scope.TASKS_WRITE, Scope.WEBHOOKS_WRITE])
def test_an_operator_needs_to_name_the_company_it_acts_on(scope: Scope) -> None:
    operator = person(Role.SUPER_ADMIN, None, is_operator=True)
    assert operator.grant(scope) is None
    with pytest.raises(Forbidden):
        operator.require(scope)
    named = person(Role.SUPER_ADMIN, "c1", is_operator=True)
    assert named.require(scope) is Grant.ALL


def test_the_operator_sees_the_system_without_naming_a_company() -> None:
    operator = person(Role.SUPER_ADMIN, None, is_operator=True)
    assert operator.require(Scope.SYSTEM_READ) is Grant.ALL
    assert operator.require(Scope.QUEUE_READ) is Grant.ALL


def test_the_program_itself_may_read_the_system_and_no_companys_rows() -> None:
    assert SYSTEM.grant(Scope.SYSTEM_READ) is Grant.ALL
    assert SYSTEM.grant(Scope.TASKS_READ) is None


@pytest.mark.parametrize("role", list(Role))
def test_a_token_never_reaches_beyond_its_owners_role(role: Role) -> None:
    everything = person(role, scopes=frozenset(Scope))
    assert all(everything.grant(scope) == person(role).grant(scope) for scope in Scope)


def test_a_token_reaches_only_the_scopes_it_carries() -> None:
    reader = person(Role.COMPANY_ADMIN, scopes=frozenset({Scope.TASKS_READ}))
    assert reader.require(Scope.TASKS_READ) is Grant.ALL
    with pytest.raises(Forbidden):
        reader.require(Scope.TASKS_WRITE)


@pytest.mark.parametrize("role", list(Role))
def test_what_a_token_may_carry_is_what_its_owner_may_do(role: Role) -> None:
    in_company = person(role, "c1", is_operator=role is Role.SUPER_ADMIN)
    assert scopes_of(role) == {scope for scope in Scope if in_company.grant(scope) is not None}
