"""One route as an ASGI application: credentials → limit → decode → handler → answer."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from novapulse.core import errors, http, idempotency, ratelimit, wire
from novapulse.core.access import SYSTEM, Principal, Role
from novapulse.core.clients import FORWARDING_HEADERS, ClientResolver, bucket, is_loopback
from novapulse.core.context import Context, Runtime
from novapulse.core.mongo import budget
from novapulse.core.problem import Headers
from novapulse.core.query import QueryReader
from novapulse.core.repeating import MAX_TRIES, pause_seconds
from novapulse.core.routing import Guard, Reply, Route, Stream
from novapulse.core.streaming import Sender

JSON = [(b"content-type", b"application/json; charset=utf-8")]
ANONYMOUS = Principal(user_id="anonymous", role=Role.USER)
# Transactions that met are over in milliseconds: what took longer waited for a store that is away.
_PATIENCE_SECONDS = 1.0
_REFUSALS = (errors.Unauthenticated, errors.Forbidden, errors.NotFound, errors.Unavailable)
_GUARDED = ("login", "register")
_ID = re.compile(r"[0-9a-f]{24}|[a-z]{2,5}_[0-9a-z]{26}")
_ETAG = re.compile(r'"([0-9]{1,9})"')

Authenticate = Callable[[Runtime, http.RequestState], Awaitable[Principal]]


@dataclass(frozen=True, slots=True)
class Door:
    """What all endpoints share: the way in."""

    runtime: Runtime
    authenticate: Authenticate
    clients: ClientResolver
    fallback: ratelimit.LocalWindow = field(default_factory=ratelimit.LocalWindow)

    async def limit(self, state: http.RequestState, route: Route) -> Headers:
        """Count the request; the RateLimit headers, or raises TooManyRequests.

        Without Redis requests pass, but guessing passwords stays limited, by each process.
        """
        settings = self.runtime.settings.rate_limits
        if route.limit is None or not settings.enabled:
            return []
        company = state.company_id or "anonymous"
        group = "api" if route.limit == "general" else route.limit_group or route.limit
        key = f"throttle:{company}:{bucket(state.address)}:{group}"
        rate = getattr(settings, route.limit)
        verdict = await ratelimit.check(self.runtime.cache, key, rate)
        if verdict is None and route.limit in _GUARDED:
            verdict = self.fallback.check(key, rate)
        if verdict is None:
            return []
        if not verdict.is_allowed:
            raise errors.TooManyRequests(verdict.reset_seconds, verdict.headers)
        return [(name.encode(), value.encode()) for name, value in verdict.headers]


class Endpoint:
    def __init__(self, door: Door, route: Route) -> None:
        self._door = door
        self._route = route
        self._query = QueryReader(route.query)
        self._max_body_bytes = door.runtime.settings.server.max_body_bytes

    async def __call__(self, scope: http.ASGIScope, receive: http.Receive, send: http.Send) -> None:
        state: http.RequestState = scope[http.STATE]
        runtime = self._door.runtime
        with budget(runtime.settings.mongo.timeout_seconds):
            reply, headers = await self._replied(scope, receive, state)
        is_head = scope["method"] == "HEAD"
        if isinstance(reply, Stream):
            seconds = runtime.settings.server.stream_seconds
            sender = Sender(state, receive, send)
            await sender.stream(reply, headers=headers, is_head=is_head, seconds=seconds)
            return
        await http.answer(
            send,
            reply.status,
            headers=[*reply.headers, *headers],
            body=reply.body,
            is_head=is_head,
        )

    async def _replied(
        self, scope: http.ASGIScope, receive: http.Receive, state: http.RequestState
    ) -> tuple[Reply | Stream, Headers]:
        """What the handler says, and the headers of the limit."""
        state.route = self._route.template
        state.address = self._address(scope, state)
        principal = await self._principal(scope, state)
        headers = await self._door.limit(state, self._route)
        arguments = self._path_arguments(scope)
        body = await self._body(state, receive)
        if self._route.body is not None:
            arguments["body"] = wire.decode(body, self._route.body)
        if self._route.query is not None or scope["query_string"]:
            arguments["query"] = self._query.read(scope["query_string"])
        if self._route.takes_if_match:
            arguments["if_match"] = _version(state.headers.get(b"if-match"))
        runtime = self._door.runtime
        ctx = Context(runtime, principal, request_id=state.request_id, request=state)
        return await self._answer(ctx, state, arguments=arguments, body=body), headers

    async def _principal(self, scope: http.ASGIScope, state: http.RequestState) -> Principal:
        guard = self._route.guard
        if guard is Guard.PUBLIC or self._route.scope is None:
            return ANONYMOUS
        if guard is not Guard.REQUIRED and _is_direct_local(scope, state):
            return SYSTEM
        try:
            principal = await self._door.authenticate(self._door.runtime, state)
            state.user_id, state.company_id = principal.user_id, principal.company_id
            principal.require(self._route.scope)
        except _REFUSALS:
            if guard is Guard.OPTIONAL:
                return ANONYMOUS
            await self._door.limit(state, self._route)  # who is refused is counted, too
            raise
        return principal

    def _address(self, scope: http.ASGIScope, state: http.RequestState) -> str:
        peer = scope.get("client")
        forwarded = state.headers.get(b"x-forwarded-for", b"").decode("latin-1")
        return self._door.clients.address(peer[0] if peer else None, forwarded)

    def _path_arguments(self, scope: http.ASGIScope) -> dict[str, Any]:
        """The path's ids; one of no possible shape is as missing as an unknown one."""
        route, given = self._route, scope["path_params"]
        for placeholder in route.placeholders:
            if placeholder.endswith("id") and not _ID.fullmatch(given[placeholder]):
                raise errors.NotFound()
        return {
            name: given[placeholder]
            for name, placeholder in zip(route.arguments, route.placeholders, strict=True)
        }

    def _path_values(self, arguments: dict[str, Any]) -> list[str]:
        return [arguments[name] for name in self._route.arguments]

    async def _body(self, state: http.RequestState, receive: http.Receive) -> bytes:
        """All of it, also where nobody asks for one: nothing is done for half a request."""
        if self._route.body is not None:
            http.require_json(state.headers)
        elif not http.has_body(state.headers):
            return b""
        return await http.read_body(receive, state.headers, max_bytes=self._max_body_bytes)

    async def _answer(
        self,
        ctx: Context,
        state: http.RequestState,
        *,
        arguments: dict[str, Any],
        body: bytes,
    ) -> Reply | Stream:
        """Run the handler, again when another transaction got in between."""
        key = state.headers.get(b"idempotency-key")
        once = None
        if key is not None and self._route.method == "POST" and self._route.scope is not None:
            target = "\0".join([self._route.template, *self._path_values(arguments)])
            once = idempotency.request(ctx, target, key=key, body=body)
        give_up = time.monotonic() + _PATIENCE_SECONDS
        for attempt in range(1, MAX_TRIES + 1):
            try:
                if once is None:
                    return self._reply(await self._route.handler(ctx, **arguments))
                return await self._answer_once(ctx, once, arguments)
            except errors.TransientConflict:
                if attempt == MAX_TRIES or time.monotonic() > give_up:
                    raise
                await asyncio.sleep(pause_seconds(attempt))
        raise AssertionError("unreachable")

    async def _answer_once(
        self, ctx: Context, once: idempotency.OnceRequest, arguments: dict[str, Any]
    ) -> Reply:
        """The first answer to this Idempotency-Key, kept in the transaction of its change."""
        kept = await idempotency.find_answer(ctx, once)
        if kept is not None:
            return Reply(kept.body, kept.status, kept.headers)
        try:
            async with ctx.as_one(lambda tx: idempotency.reserve(tx, once, ctx.now())):
                reply = self._reply(await self._route.handler(ctx, **arguments))
                if isinstance(reply, Stream):
                    raise TypeError("what is streamed can not be kept as the answer to a POST")
                made = idempotency.KeptAnswer(reply.status, reply.headers, reply.body)
                async with ctx.transaction(company_id=ctx.ledger_id) as tx:
                    await idempotency.keep(ctx, tx, once=once, answer=made)
                return reply
        except errors.TransientConflict:
            raise
        except errors.Error:
            # A twin may have done it meanwhile, and left nothing more to do.
            if (kept := await idempotency.find_answer(ctx, once)) is None:
                raise
            return Reply(kept.body, kept.status, kept.headers)

    def _reply(self, result: Any) -> Reply | Stream:
        if isinstance(result, Reply | Stream):
            return result
        if result is None:
            return Reply(status=204)
        headers = list(JSON)
        version = getattr(result, "version", None)
        if isinstance(version, int):
            headers.append((b"etag", f'"{version}"'.encode()))
        return Reply(wire.encode(result), self._route.status, headers)


def _version(if_match: bytes | None) -> int | None:
    """The version that `If-Match: "3"` asks for; None without the header or with `*`."""
    if if_match is None or if_match == b"*":
        return None
    found = _ETAG.fullmatch(if_match.decode("latin-1").strip())
    if found is None:
        raise errors.VersionConflict("If-Match names no version of this resource")
    return int(found.group(1))


def _is_direct_local(scope: http.ASGIScope, state: http.RequestState) -> bool:
    """A connection from this machine that no proxy forwarded."""
    peer = scope.get("client")
    is_forwarded = any(name in state.headers for name in FORWARDING_HEADERS)
    return peer is not None and is_loopback(peer[0]) and not is_forwarded
