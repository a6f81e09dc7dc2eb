"""A use case from the command line: the same services, over the running stores."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import structlog

from novapulse.cli.options import Location
from novapulse.core.access import SYSTEM
from novapulse.core.context import Context
from novapulse.core.errors import TransientConflict
from novapulse.core.ids import new_id
from novapulse.core.paging import Listing
from novapulse.processes import features  # noqa: F401 - declares the job kinds
from novapulse.processes.runtime import add_identity, open_runtime
from novapulse.stores.layout import MongoRole

T = TypeVar("T")
# Again when another transaction got in between, as the API's endpoints do.
_TRIES = 5


def with_context(location: Location, use_case: Callable[[Context], Awaitable[T]]) -> T:
    """Run one use case as the operator; raises Unavailable when the stores do not run."""
    loaded = location.load()
    keep_stdout_for_the_result()

    async def main() -> T:
        async with open_runtime(loaded, role=MongoRole.API) as runtime:
            add_identity(runtime, loaded)
            ctx = Context(runtime, SYSTEM, request_id=new_id("cli"), via="cli")
            for _ in range(_TRIES):
                with suppress(TransientConflict):
                    return await use_case(ctx)
            return await use_case(ctx)

    return asyncio.run(main())


def keep_stdout_for_the_result() -> None:
    """What services log goes to stderr, and only what a person should see."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        # Asked each time: whoever called us may have another stderr by then.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


async def every_page(
    list_page: Callable[[Context, Any], Awaitable[Listing[Any]]], ctx: Context, query: Any
) -> list[Any]:
    """All rows of a list, page by page; `query` is its struct with a cursor."""
    rows: list[Any] = []
    while True:
        listing = await list_page(ctx, query)
        rows += listing.data
        if listing.page.next_cursor is None:
            return rows
        query = msgspec.structs.replace(query, cursor=listing.page.next_cursor)
