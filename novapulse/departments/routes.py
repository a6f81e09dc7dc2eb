"""`/departments`."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Routes
from novapulse.departments import service
from novapulse.departments.model import (
    ChangeDepartment,
    Department,
    DepartmentQuery,
    NewDepartment,
)

routes = Routes("departments")


@routes.add("POST", "/departments", scope=Scope.DEPARTMENTS_WRITE, status=201)
async def create_department(ctx: Context, body: NewDepartment) -> Department:
    """Create a department."""
    return await service.create_department(ctx, body)


@routes.add("GET", "/departments", scope=Scope.DEPARTMENTS_READ)
async def list_departments(ctx: Context, query: DepartmentQuery) -> Listing[Department]:
    """List departments, newest first."""
    return await service.list_departments(ctx, query)


@routes.add("GET", "/departments/{id}", scope=Scope.DEPARTMENTS_READ)
async def get_department(ctx: Context, department_id: str) -> Department:
    """Read one department."""
    return await service.get_department(ctx, department_id)


@routes.add("PATCH", "/departments/{id}", scope=Scope.DEPARTMENTS_WRITE)
async def change_department(
    ctx: Context, department_id: str, *, body: ChangeDepartment, if_match: int | None
) -> Department:
    """Change some fields of a department; `If-Match` guards against lost updates."""
    return await service.change_department(ctx, department_id, change=body, if_version=if_match)


@routes.add("DELETE", "/departments/{id}", scope=Scope.DEPARTMENTS_WRITE)
async def delete_department(ctx: Context, department_id: str, if_match: int | None) -> None:
    """Remove a department; its people stay."""
    await service.delete_department(ctx, department_id, if_version=if_match)
