"""What this program itself listens on, out of its settings."""

from pathlib import Path

import pytest

from novapulse.core.networks import AddressPolicy
from novapulse.core.settings import Loaded, Paths, Settings
from novapulse.core.settings import sections as keys
from novapulse.processes.own_sockets import own_sockets

NOWHERE = Path("/nonexistent")
PATHS = Paths(config_file=NOWHERE, state=NOWHERE, run=NOWHERE, log=NOWHERE)


def sockets(listen: str = "127.0.0.1:5000", **stores: str) -> set[tuple[str, int]]:
    settings = Settings(
        server=keys.Server(listen=listen),
        mongo=keys.Mongo(uri=stores.get("mongo", "embedded")),
        redis=keys.Redis(url=stores.get("redis", "embedded")),
    )
    return set(own_sockets(Loaded(settings=settings, origins={}, paths=PATHS)))


def test_embedded_stores_listen_on_no_port() -> None:
    assert sockets() == {("127.0.0.1", 5000)}
    assert sockets("[::1]:80") == {("::1", 80)}
    assert sockets("0.0.0.0:0") == set()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mongodb://10.0.0.5/", {("10.0.0.5", 27_017)}),
        (
            "mongodb://u:p%40ss@10.0.0.5:1,10.0.0.6:2/db?w=majority",
            {("10.0.0.5", 1), ("10.0.0.6", 2)},
        ),
        ("mongodb://[fd00::5]:27018/?replicaSet=a", {("fd00::5", 27_018)}),
        ("mongodb://u:p@%2Frun%2Fmongodb.sock/", set()),
        ("mongodb+srv://u:p@cluster.example.com/", set()),
        ("mongodb://127.0.0.1:27019/", {("0.0.0.0", 27_019)}),
    ],
)
def test_a_mongodb_elsewhere_is_ours_too(uri: str, expected: set[tuple[str, int]]) -> None:
    assert sockets(mongo=uri) - {("127.0.0.1", 5000)} == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://10.0.0.5", {("10.0.0.5", 6_379)}),
        ("rediss://:pass@10.0.0.5:6380/0", {("10.0.0.5", 6_380)}),
        ("redis://u:p@[fd00::6]:7/1", {("fd00::6", 7)}),
        ("unix://u:p@/run/redis.sock", set()),
        ("redis://[::1]:6379/", {("0.0.0.0", 6_379)}),
        (
            "redis+sentinel://:p@10.0.0.5,10.0.0.6:2/service",
            {("10.0.0.5", 26_379), ("10.0.0.6", 2)},
        ),
    ],
)
def test_a_redis_elsewhere_is_ours_too(url: str, expected: set[tuple[str, int]]) -> None:
    assert sockets(redis=url) - {("127.0.0.1", 5000)} == expected


def test_a_store_on_the_loopback_is_closed_at_every_address_of_the_machine() -> None:
    ours = AddressPolicy((), sockets(redis="redis://127.0.0.1:6379"))
    assert ours.own_ports == {6_379}
    assert ours.verdict("127.9.9.9", 6_379) == "an address of this program"


def test_a_name_stands_for_what_it_leads_to() -> None:
    assert ("0.0.0.0", 6_379) in sockets(redis="redis://localhost:6379")
    found = sockets("localhost:5000")
    assert found
    assert {port for _, port in found} == {5000}
