"""A process's surroundings, from what the supervisor handed down."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network

from novapulse.core.clock import Clock, system_clock
from novapulse.core.context import Runtime
from novapulse.core.crypto import load_key_ring
from novapulse.core.jobs.bell import Bell
from novapulse.core.mongo import Database
from novapulse.core.networks import AddressPolicy
from novapulse.core.outbound import OutboundClient, OutboundOptions
from novapulse.core.pulse import keep_pulse
from novapulse.core.redis import Cache
from novapulse.core.room import Room
from novapulse.core.secretfiles import WatchedSecret
from novapulse.core.settings import Loaded
from novapulse.core.tasks import end_all
from novapulse.identity.refresh import load_refresh_key
from novapulse.identity.service import Identity
from novapulse.identity.tokens import load_token_keys, read_token_keys
from novapulse.people import api_tokens
from novapulse.processes import places
from novapulse.processes.own_sockets import own_sockets
from novapulse.stores.layout import MongoRole

_LONGEST_REQUEST_SECONDS = 60.0


@asynccontextmanager
async def open_runtime(
    loaded: Loaded, *, role: MongoRole, clock: Clock = system_clock
) -> AsyncIterator[Runtime]:
    """Clients and keys for a process with the database rights of `role`."""
    settings = loaded.settings
    db = Database(
        places.mongo_uri(loaded, role),
        settings.mongo.database,
        timeout_seconds=settings.mongo.timeout_seconds,
        max_pool_size=settings.mongo.max_pool_size,
    )
    cache = Cache(places.redis_url(loaded), timeout_seconds=settings.redis.timeout_seconds)
    bell = Bell(cache)
    keys = load_key_ring(places.data_key_file(loaded))
    runtime = Runtime(settings=settings, db=db, cache=cache, bell=bell, keys=keys, clock=clock)
    room = Room() if settings.mongo.is_embedded else None
    if room is not None:
        runtime.add(room)
    state = loaded.paths.state
    pulse = asyncio.create_task(keep_pulse(db, cache, state_directory=state, room=room))
    try:
        yield runtime
    finally:
        await end_all((pulse,))
        await bell.close()
        await cache.close()
        await db.close()


def add_identity(runtime: Runtime, loaded: Loaded) -> None:
    """Token keys, password hashing and sessions, for processes that sign people in."""
    given = loaded.jwt_access_secret
    token_key_file = places.token_key_file(loaded)
    keys = load_token_keys(token_key_file, given=given)
    refresh_key = load_refresh_key(places.refresh_key_file(loaded))
    identity = Identity(
        runtime, keys, refresh_key=refresh_key, setup_token_file=places.setup_token_file(loaded)
    )
    identity.api_tokens = api_tokens.principal_of
    if given is None:
        identity.tokens.follow(WatchedSecret(token_key_file, read_token_keys))
    runtime.add(identity)


def outbound_client(loaded: Loaded) -> OutboundClient:
    """The only way out to addresses that users chose; needs a running loop."""
    webhooks = loaded.settings.webhooks
    policy = AddressPolicy(map(ip_network, webhooks.allow_networks), own_sockets(loaded))
    options = OutboundOptions(
        connect_timeout_seconds=webhooks.connect_timeout_seconds,
        dns_timeout_seconds=webhooks.dns_timeout_seconds,
        https_only=webhooks.https_only,
        egress_proxy=webhooks.egress_proxy or None,
    )
    return OutboundClient(policy, options)


class WaysOut:
    """The way out in use, made anew when a reload changes its rules.

    `use` is given each one. A former one goes on for as long as its longest request may.
    """

    def __init__(self, loaded: Loaded, *, use: Callable[[OutboundClient], None]) -> None:
        self._use = use
        self._rules = _rules(loaded)
        self._clients = [outbound_client(loaded)]
        use(self._clients[0])

    def adopt(self, loaded: Loaded) -> None:
        """Take over reloaded settings, in the running loop."""
        if self._rules == _rules(loaded):
            return
        self._rules = _rules(loaded)
        former = self._clients[-1]
        self._clients.append(outbound_client(loaded))
        self._use(self._clients[-1])
        loop = asyncio.get_running_loop()
        loop.call_later(_LONGEST_REQUEST_SECONDS, lambda: loop.create_task(self._retire(former)))

    async def aclose(self) -> None:
        for client in self._clients:
            await client.aclose()
        self._clients.clear()

    async def _retire(self, client: OutboundClient) -> None:
        if client in self._clients:
            self._clients.remove(client)
            await client.aclose()


def _rules(loaded: Loaded) -> tuple[object, str]:
    return loaded.settings.webhooks, loaded.settings.server.listen
