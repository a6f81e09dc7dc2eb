"""A Redis that a failover has made one that follows, behind an address that stays."""

import re
from collections.abc import Iterator

import pytest

from novapulse.core.redis import Cache, Script, ScriptCall
from tests.support.replicas import free_port
from tests.support.sentinels import Node
from tests.support.stores import require_stores, temporary_layout

PASSWORD = "a-password-of-the-test"
COUNT = Script.of("return redis.call('INCR', KEYS[1])")
CALL = ScriptCall(("number",), ())


@pytest.fixture
def server() -> Iterator[Node]:
    require_stores()
    with temporary_layout() as layout:
        node = Node(layout.state.parent / "server", "", password=PASSWORD, is_sentinel=False)
        node.store.start()
        try:
            yield node
        finally:
            node.store.kill()


def caller(server: Node) -> str:
    """The connection that scripts came by last."""
    told = str(server.ask("CLIENT", "LIST"))
    (found,) = re.findall(r"^id=(\d+) .* cmd=eval(?:sha)? ", told, re.MULTILINE)
    return str(found)


async def test_a_connection_whose_server_became_a_replica_is_given_up(server: Node):
    cache = Cache(f"redis://:{PASSWORD}@{server.address}", timeout_seconds=1.0)
    try:
        assert await cache.run_script(COUNT, CALL) == 1
        former = caller(server)
        server.ask("REPLICAOF", "127.0.0.1", str(free_port()))
        assert await cache.run_script(COUNT, CALL) is None
        server.ask("REPLICAOF", "NO", "ONE")
        # The same address leads to a master again: by a new connection it would be another one.
        assert await cache.run_script(COUNT, CALL) == 2
        assert caller(server) != former
    finally:
        await cache.close()
