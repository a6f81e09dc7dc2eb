"""A use case from the command line: the same services, over the running stores."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from novapulse.cli.options import Location
from novapulse.core.access import SYSTEM
from novapulse.core.context import Context
from novapulse.core.ids import new_id
from novapulse.processes.runtime import add_identity, open_runtime
from novapulse.stores.layout import MongoRole

T = TypeVar("T")


def with_context(location: Location, use_case: Callable[[Context], Awaitable[T]]) -> T:
    """Run one use case as the operator; raises Unavailable when the stores do not run."""
    loaded = location.load()

    async def main() -> T:
        async with open_runtime(loaded, role=MongoRole.API) as runtime:
            add_identity(runtime, loaded)
            ctx = Context(runtime, SYSTEM, request_id=new_id("cli"), via="cli")
            return await use_case(ctx)

    return asyncio.run(main())
