"""A process's surroundings, from what the supervisor handed down."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

from novapulse.core.context import Runtime
from novapulse.core.crypto import load_key_ring
from novapulse.core.jobs.bell import Bell
from novapulse.core.mongo import Database
from novapulse.core.networks import AddressPolicy
from novapulse.core.outbound import OutboundClient, OutboundOptions
from novapulse.core.redis import Cache
from novapulse.core.settings import Loaded
from novapulse.identity.service import Identity
from novapulse.identity.tokens import load_token_keys
from novapulse.processes import places
from novapulse.stores.layout import MongoRole


@asynccontextmanager
async def open_runtime(loaded: Loaded, *, role: MongoRole) -> AsyncIterator[Runtime]:
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
    secrets = places.secrets_directory(loaded)
    keys = load_key_ring(secrets / "data-keys.json")
    runtime = Runtime(settings=settings, db=db, cache=cache, bell=bell, keys=keys)
    try:
        yield runtime
    finally:
        await bell.close()
        await cache.close()
        await db.close()


def add_identity(runtime: Runtime, loaded: Loaded) -> None:
    """Token keys, password hashing and sessions, for processes that sign people in."""
    secrets = places.secrets_directory(loaded)
    given = loaded.jwt_access_secret
    keys = load_token_keys(secrets / "token-keys.json", given=given)
    runtime.add(Identity(runtime, keys, setup_token_file=places.setup_token_file(loaded)))


def outbound_client(loaded: Loaded) -> OutboundClient:
    """The only way out to addresses that users chose; needs a running loop."""
    webhooks = loaded.settings.webhooks
    own = loaded.settings.server.address
    policy = AddressPolicy(map(ip_network, webhooks.allow_networks), {(own.host, own.port)})
    options = OutboundOptions(
        connect_timeout_seconds=webhooks.connect_timeout_seconds,
        dns_timeout_seconds=webhooks.dns_timeout_seconds,
        https_only=webhooks.https_only,
    )
    return OutboundClient(policy, options)
