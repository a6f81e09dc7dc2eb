"""How a feature declares its routes: one decorator that enforces and documents.

A handler is `async def handler(ctx, ...)`. Its other parameters say what it
takes: `body` and `query` are structs, `if_match` is the version of `If-Match`,
all others are the path's placeholders in their order. What it returns becomes
the JSON answer.
"""

import inspect
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from types import NoneType
from typing import Any, get_type_hints

import msgspec

from novapulse.core.access import Scope

PREFIX = "/api/v1"


class Guard(Enum):
    """Who gets past a route's door with which credentials."""

    PUBLIC = "public"  # everybody
    REQUIRED = "required"  # a principal with the route's scope
    LOCAL = "local"  # as REQUIRED, or a direct connection from this machine
    OPTIONAL = "optional"  # as LOCAL, and everybody else as anonymous


Handler = Callable[..., Awaitable[Any]]
Headers = list[tuple[bytes, bytes]]
_PLACEHOLDER = re.compile(r"{(\w+)}")


class Reply(msgspec.Struct, frozen=True):
    """What a handler returns when JSON with the declared status is not enough."""

    body: bytes = b""
    status: int = 200
    headers: Headers = []


@dataclass(frozen=True, slots=True)
class Stream:
    """What a handler returns whose body is made while it is sent.

    `size` is its length in bytes, where that is known before. Nothing runs for a HEAD.
    """

    chunks: AsyncGenerator[bytes, None]
    headers: Headers
    status: int = 200
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint; `scope` is None for a public one, `limit` names its rate limit.

    Routes with one `limit_group` are counted together; without it, those with one `limit`.
    """

    method: str
    path: str
    handler: Handler
    scope: Scope | None
    status: int = 200
    also: tuple[int, ...] = ()  # what it may answer instead of `status`, when all went well
    limit: str | None = "general"
    limit_group: str = ""
    body: Any = None
    query: Any = None
    returns: Any = None
    takes_if_match: bool = False
    placeholders: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()  # the handler's names for the placeholders
    tag: str = ""
    guard: Guard = Guard.REQUIRED
    media_type: str = "application/json"

    @property
    def template(self) -> str:
        return PREFIX + self.path


@dataclass
class Routes:
    """A feature's routes, in the order of their declaration."""

    tag: str
    declared: list[Route] = field(default_factory=list)

    def add(
        self,
        method: str,
        path: str,
        *,
        scope: Scope | None,
        **options: Any,
    ) -> Callable[[Handler], Handler]:
        """Declare a handler. Options are fields of `Route`: status, also, limit, guard, media_type.

        `returns` tells what is in the Reply or Stream of a handler that makes one.
        """

        def declare(handler: Handler) -> Handler:
            route = _route(method, path, handler=handler, scope=scope, tag=self.tag, **options)
            self.declared.append(route)
            return handler

        return declare


def _route(
    method: str, path: str, *, handler: Handler, scope: Scope | None, **options: Any
) -> Route:
    hints = get_type_hints(handler)
    names = list(inspect.signature(handler).parameters)[1:]
    placeholders = tuple(_PLACEHOLDER.findall(path))
    arguments = tuple(name for name in names if name not in ("body", "query", "if_match"))
    if len(arguments) != len(placeholders):
        raise TypeError(f"{method} {path}: the handler's parameters do not fit: {names}")
    returns = options.pop("returns", hints.get("return"))
    if scope is None:
        options["guard"] = Guard.PUBLIC
    if returns is NoneType:
        options["status"] = 204
    return Route(
        method=method,
        path=path,
        handler=handler,
        scope=scope,
        body=hints.get("body"),
        query=hints.get("query"),
        returns=None if returns in (NoneType, Reply, Stream, Reply | Stream) else returns,
        takes_if_match="if_match" in names,
        placeholders=placeholders,
        arguments=arguments,
        **options,
    )
