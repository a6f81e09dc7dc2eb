"""Names whose servers hang: they keep a few threads, and nobody else's name from being found."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp.abc import ResolveResult

from novapulse.core import connector
from novapulse.core.connector import NameResolver
from novapulse.core.exchange import (
    Marks,
    OutboundFailure,
    OutboundRequest,
    current_marks,
)
from novapulse.core.networks import AddressPolicy
from novapulse.core.outbound import OutboundClient
from tests.support import loops
from tests.support.engine import until

anyio_backend = loops.each_backend
LONG_SECONDS = 30.0


@dataclass
class Names:
    """A name server's word; what begins with `slow` is answered when `let_go` is set."""

    let_go: threading.Event = field(default_factory=threading.Event)
    asked: Counter[str] = field(default_factory=Counter)

    def look_up(self, host: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        self.asked[host] += 1
        if host.startswith("slow"):
            self.let_go.wait(LONG_SECONDS)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 0))]


@pytest.fixture
def names() -> Iterator[Names]:
    made = Names()
    yield made
    made.let_go.set()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a turn."""
    monkeypatch.setattr(connector, "_TURN_SECONDS", 0.0)


async def look_up(resolver: NameResolver, host: str, *, party: str) -> list[ResolveResult]:
    """As a request on behalf of that party has it looked up."""
    current_marks.set(Marks(party=party))
    return await resolver.resolve(host)


async def hang(
    names: Names, resolver: NameResolver, hosts: Sequence[str], *, party: str = ""
) -> list[Any]:
    """Lookups of all of these that are under way."""
    asked = [asyncio.create_task(look_up(resolver, host, party=party)) for host in hosts]
    await until(lambda: set(hosts) <= set(names.asked), what="all of them to be asked")
    return asked


async def test_a_name_that_hangs_is_looked_up_once_for_all_ports(names: Names) -> None:
    resolver = NameResolver(LONG_SECONDS, lookup=names.look_up)
    ports = range(1, 101)
    asked = [asyncio.create_task(resolver.resolve("slow.example.com", port)) for port in ports]
    await until(lambda: bool(names.asked), what="it to be asked")
    (other,) = await resolver.resolve("well.example.com", 8080)
    assert (other["host"], other["port"]) == ("93.184.216.34", 8080)
    names.let_go.set()
    assert [found[0]["port"] for found in await asyncio.gather(*asked)] == list(ports)
    assert names.asked["slow.example.com"] == 1


@pytest.mark.usefixtures("at_once")
async def test_whose_names_hang_leaves_room_for_all_others(names: Names) -> None:
    resolver = NameResolver(LONG_SECONDS, lookup=names.look_up)
    hosts = [f"slow{number}.example.co.uk" for number in range(32)]
    asked = await hang(names, resolver, hosts, party="one")
    client = OutboundClient(AddressPolicy(()), resolver=resolver)
    requests = [
        OutboundRequest("POST", "http://well.example.com/", {}, b"{}", 10.0, party)
        for party in ("one", "two")
    ]
    # Asked at once it is one lookup for both: the other one's circuit must not hear of it.
    ended = await asyncio.gather(*map(client.send, requests), return_exceptions=True)
    await client.aclose()
    kinds = [one.kind for one in ended if isinstance(one, OutboundFailure)]
    assert kinds == ["dns", "busy"]
    assert await asyncio.create_task(look_up(resolver, "well.example.co.uk", party="two"))
    names.let_go.set()
    await asyncio.gather(*asked)
    assert await asyncio.create_task(look_up(resolver, "well.example.com", party="one"))


@pytest.mark.usefixtures("at_once")
async def test_with_very_many_that_hang_it_is_not_said_of_others_that_they_do(
    names: Names,
) -> None:
    resolver = NameResolver(LONG_SECONDS, lookup=names.look_up)
    asked = await hang(names, resolver, [f"slow.example{number}.com" for number in range(64)])
    client = OutboundClient(AddressPolicy(()), resolver=resolver)
    with pytest.raises(OutboundFailure) as failed:
        await client.send(OutboundRequest("POST", "http://well.example.com/", {}, b"{}", 10.0))
    await client.aclose()
    assert (failed.value.kind, failed.value.is_ours) == ("busy", True)
    assert "well.example.com" not in names.asked
    names.let_go.set()
    await asyncio.gather(*asked)


async def test_a_lookup_waits_for_others_to_end(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "_TURN_SECONDS", LONG_SECONDS)
    resolver = NameResolver(LONG_SECONDS, lookup=names.look_up)
    asked = await hang(names, resolver, [f"slow.example{number}.com" for number in range(64)])
    waiting = asyncio.create_task(resolver.resolve("well.example.com"))
    await asyncio.sleep(0)
    assert "well.example.com" not in names.asked
    names.let_go.set()
    assert await waiting
    await asyncio.gather(*asked)
