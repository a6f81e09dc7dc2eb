"""`/export/…`: one route for each kind of rows and format."""

from novapulse.core.context import Context
from novapulse.core.routing import Handler, Routes, Stream
from novapulse.core.rowtext import MEDIA_TYPES, Form
from novapulse.core.sources import SOURCES, Selection
from novapulse.exports import service

EXPORTED = ("users", "tasks", "projects", "audit")
_FORMS: tuple[Form, ...] = ("csv", "ndjson")


def _handler(name: str, form: Form) -> Handler:
    async def export(ctx: Context, query: Selection) -> Stream:
        day = ctx.now().date().isoformat()
        disposition = f'attachment; filename="{name}-{day}.{form}"'
        chunks = await service.export(ctx, name, form=form, chosen=query)
        return Stream(
            chunks,
            headers=[
                (b"content-type", MEDIA_TYPES[form].encode()),
                (b"content-disposition", disposition.encode()),
            ],
        )

    export.__name__ = f"export_{name}_as_{form}"
    export.__doc__ = (
        f"Take the {name} away, oldest first, as {form.upper()}; needs a step-up, "
        "of an API token `exports:read`."
    )
    export.__annotations__["query"] = SOURCES[name].query
    return export


def make_routes() -> Routes:
    """To be called once the sources are declared."""
    routes = Routes("exports")
    for name in EXPORTED:
        for form in _FORMS:
            declare = routes.add(
                "GET",
                f"/export/{name}.{form}",
                scope=SOURCES[name].scope,
                limit="exports",
                returns=str,
                media_type=MEDIA_TYPES[form].partition(";")[0],
            )
            declare(_handler(name, form))
    return routes
