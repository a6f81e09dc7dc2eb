"""Use cases on departments."""

from novapulse.core import paging
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.documents import changed_fields, new_object_id
from novapulse.core.errors import VersionConflict
from novapulse.core.paging import Listing
from novapulse.departments.model import (
    ChangeDepartment,
    Department,
    DepartmentCreated,
    DepartmentDeleted,
    DepartmentQuery,
    DepartmentUpdated,
    NewDepartment,
)
from novapulse.departments.store import DepartmentStore
from novapulse.people.references import require_members


async def create_department(ctx: Context, command: NewDepartment) -> Department:
    """Add a department; raises DepartmentExists, or Invalid for people of another company."""
    ctx.require(Scope.DEPARTMENTS_WRITE)
    department = command.department(
        department_id=new_object_id(), by=ctx.principal.user_id, at=ctx.now()
    )
    async with ctx.transaction() as tx:
        await require_members(tx, department.people)
        await DepartmentStore(tx).insert(department)
        tx.record(DepartmentCreated(department=department))
    return department


async def get_department(ctx: Context, department_id: str) -> Department:
    """Raises NotFound."""
    ctx.require(Scope.DEPARTMENTS_READ)
    return await DepartmentStore(ctx.read()).get(department_id)


async def list_departments(ctx: Context, query: DepartmentQuery) -> Listing[Department]:
    """The company's departments, newest first."""
    ctx.require(Scope.DEPARTMENTS_READ)
    return paging.listing(await DepartmentStore(ctx.read()).page(query), query.limit)


async def change_department(
    ctx: Context, department_id: str, *, change: ChangeDepartment, if_version: int | None = None
) -> Department:
    """Change some fields; changing nothing writes nothing.

    Raises:
        NotFound: no such department in the caller's company.
        VersionConflict: saved by someone else since `if_version`.
        DepartmentExists: another one has the name.
        Invalid: somebody new in it is none of the company's.
    """
    ctx.require(Scope.DEPARTMENTS_WRITE)
    async with ctx.transaction() as tx:
        departments = DepartmentStore(tx)
        before = await departments.get(department_id)
        if if_version is not None and before.version != if_version:
            raise VersionConflict()
        after = before.changed(change, at=ctx.now())
        changed = changed_fields(before, after)
        if not changed:
            return before
        if {"managerId", "memberIds"} & set(changed):
            await require_members(tx, after.people)
        await departments.replace(after, if_version=before.version)
        tx.record(DepartmentUpdated(department=after, changed=changed))
    return after


async def delete_department(
    ctx: Context, department_id: str, *, if_version: int | None = None
) -> None:
    """Remove a department, not its people; raises NotFound or VersionConflict."""
    ctx.require(Scope.DEPARTMENTS_WRITE)
    async with ctx.transaction() as tx:
        departments = DepartmentStore(tx)
        department = await departments.get(department_id)
        if if_version is not None and department.version != if_version:
            raise VersionConflict()
        await departments.delete(department)
        tx.record(DepartmentDeleted(department=department))
