"""One route as an ASGI application: credentials → limit → decode → handler → answer."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from novapulse.core import errors, http, idempotency, ratelimit, wire
from novapulse.core.access import SYSTEM, Principal, Role
from novapulse.core.clients import FORWARDING_HEADERS, ClientResolver, bucket, is_loopback
from novapulse.core.context import Context, Runtime
from novapulse.core.problem import Headers
from novapulse.core.routing import Guard, Reply, Route

JSON = [(b"content-type", b"application/json; charset=utf-8")]
ANONYMOUS = Principal(user_id="anonymous", role=Role.USER)
MAX_TRIES = 8
_ID = re.compile(r"[0-9a-f]{24}|[a-z]{2,5}_[0-9a-z]{26}")
_ETAG = re.compile(r'"([0-9]{1,9})"')

Authenticate = Callable[[Runtime, http.RequestState], Awaitable[Principal]]


@dataclass(frozen=True, slots=True)
class Door:
    """What all endpoints share: the way in."""

    runtime: Runtime
    authenticate: Authenticate
    clients: ClientResolver

    async def limit(self, state: http.RequestState, route: Route, address: str) -> Headers:
        """Count the request; the RateLimit headers, or raises TooManyRequests."""
        settings = self.runtime.settings.rate_limits
        if route.limit is None or not settings.enabled:
            return []
        company = state.company_id or "anonymous"
        group = "api" if route.limit == "general" else route.limit
        key = f"throttle:{company}:{bucket(address)}:{group}"
        verdict = await ratelimit.check(self.runtime.cache, key, getattr(settings, route.limit))
        if verdict is None:
            return []
        if not verdict.is_allowed:
            raise errors.TooManyRequests(verdict.reset_seconds, verdict.headers)
        return [(name.encode(), value.encode()) for name, value in verdict.headers]


class Endpoint:
    def __init__(self, door: Door, route: Route) -> None:
        self._door = door
        self._route = route
        self._max_body_bytes = door.runtime.settings.server.max_body_bytes

    async def __call__(self, scope: http.ASGIScope, receive: http.Receive, send: http.Send) -> None:
        state: http.RequestState = scope[http.STATE]
        state.route = self._route.template
        principal = await self._principal(scope, state)
        headers = await self._door.limit(state, self._route, self._address(scope, state))
        arguments = self._path_arguments(scope)
        body = b""
        if self._route.body is not None:
            http.require_json(state.headers)
            body = await http.read_body(receive, max_bytes=self._max_body_bytes)
            arguments["body"] = wire.decode(body, self._route.body)
        if self._route.query is not None or scope["query_string"]:
            arguments.update(self._query(scope["query_string"].decode("latin-1")))
        if self._route.takes_if_match:
            arguments["if_match"] = _version(state.headers.get(b"if-match"))
        ctx = Context(self._door.runtime, principal, request_id=state.request_id)
        reply = await self._answer(ctx, state, arguments=arguments, body=body)
        content = b"" if scope["method"] == "HEAD" else reply.body
        await http.answer(send, reply.status, headers=[*reply.headers, *headers], body=content)

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
        except (errors.Unauthenticated, errors.Forbidden):
            if guard is Guard.OPTIONAL:
                return ANONYMOUS
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

    def _query(self, text: str) -> dict[str, Any]:
        pairs = parse_qsl(text, keep_blank_values=True)
        given = dict(pairs)
        for name in given:
            if sum(1 for other, _ in pairs if other == name) > 1:
                raise errors.Invalid.field(name, "is given twice")
        if self._route.query is None:
            raise errors.Invalid.field(next(iter(given), ""), "there is no such parameter")
        return {"query": wire.convert(given, self._route.query, strict=False)}

    async def _answer(
        self,
        ctx: Context,
        state: http.RequestState,
        *,
        arguments: dict[str, Any],
        body: bytes,
    ) -> Reply:
        """Run the handler, again when another transaction got in between."""
        key = state.headers.get(b"idempotency-key")
        once = None
        if key is not None and self._route.method == "POST" and self._route.scope is not None:
            once = idempotency.request(ctx, self._route.template, key=key, body=body)
        for attempt in range(1, MAX_TRIES + 1):
            try:
                if once is None:
                    return self._reply(await self._route.handler(ctx, **arguments))
                return await self._answer_once(ctx, once, arguments)
            except errors.TransientConflict:
                if attempt == MAX_TRIES:
                    raise
                # Whoever met here must not meet again: the wait is drawn, not fixed.
                await asyncio.sleep(random.uniform(0, 0.005 * 2**attempt))  # noqa: S311 - no secret
        raise AssertionError("unreachable")

    async def _answer_once(
        self, ctx: Context, once: idempotency.OnceRequest, arguments: dict[str, Any]
    ) -> Reply:
        """The first answer to this Idempotency-Key, kept in the transaction of its change."""
        kept = await idempotency.find_answer(ctx, once)
        if kept is not None:
            return Reply(kept.body, kept.status, kept.headers)
        async with ctx.transaction() as tx:
            await idempotency.reserve(tx, once, ctx.now())
            reply = self._reply(await self._route.handler(ctx, **arguments))
            kept = idempotency.KeptAnswer(reply.status, reply.headers, reply.body)
            await idempotency.keep(tx, once, kept)
        return reply

    def _reply(self, result: Any) -> Reply:
        if isinstance(result, Reply):
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
