"""Redis by the word of Sentinels: its master is killed, then stopped, and the appliance goes on."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from novapulse.core.redis import blocking_client
from tests.support.appliance import Appliance, Client, appliance_in_temporary_root, note
from tests.support.pace import PacedLoad
from tests.support.receiver import WebhookReceiver, webhook_receiver
from tests.support.sentinels import Node, WatchedRedis, until, watched_redis
from tests.support.stores import require_stores

LOGINS = 5
PER_SECOND = 20.0
# Sentinel notices after one second and elects; the program's breaker looks every two seconds.
BACK_SECONDS = 15.0
CONFIG = f"""\
[server]
processes = 1

[webhooks]
allow_networks = ["127.0.0.0/8"]

[rate_limits]
general = "1000000/minute"
login = "{LOGINS}/minute"
"""

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Scene:
    redis: WatchedRedis
    appliance: Appliance
    client: Client
    receiver: WebhookReceiver

    def arrivals(self) -> Counter[str]:
        return Counter(one.event["data"]["task"]["id"] for one in self.receiver.requests)

    def sees_redis(self) -> bool:
        return str(self.appliance.status()["stores"]["redis"]["status"]) == "ok"


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    require_stores()
    with (
        watched_redis() as redis,
        appliance_in_temporary_root(f'[redis]\nurl = "{redis.url}"\n\n{CONFIG}') as appliance,
        webhook_receiver() as receiver,
    ):
        appliance.start()
        client = appliance.found_company()
        client.subscribe(receiver.url, "task.created", retries=20)
        yield Scene(redis, appliance, client, receiver)


def attempts_until_refused(scene: Scene, who: str) -> list[int]:
    """Statuses of wrong sign-ins: the limit is counted in Redis, or there is none."""
    attempt = {"email": f"{who}@acme.example", "password": "not the right one at all"}
    return [Client(scene.appliance).post("/auth/login", attempt).status for _ in range(LOGINS + 2)]


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_another_master_is_found(scene: Scene, way: signal.Signals):
    redis = scene.redis
    former = redis.master()
    assert scene.sees_redis()
    load = PacedLoad(
        scene.appliance.address,
        scene.client.headers,
        per_second=PER_SECOND,
        again=False,
        label=way.name,
    )
    with load:
        load.wait_for(lambda: len(load.accepted) > PER_SECOND, seconds=30)
        os.kill(former.store.pid, way)
        elected = until(lambda: redis.master() is not former, "no other master is elected")
        heard = until(
            lambda: listeners(redis) > 0, "nobody listens at the new master", seconds=BACK_SECONDS
        )
        until(scene.sees_redis, "the API does not find the new master", seconds=BACK_SECONDS)
        done = len(load.accepted)
        load.wait_for(lambda: len(load.accepted) > done + PER_SECOND, seconds=30)
    accepted = set(load.accepted.values())
    scene.receiver.wait_for(lambda _: accepted <= scene.arrivals().keys(), seconds=30)
    note(f"elected after {elected:.1f} s, listened to {heard:.1f} s later; {load.summary()}")
    # Nothing was refused meanwhile, and all of it was told once.
    assert {one.status for one in load.asked} <= {200, 201}
    assert scene.arrivals().items() >= dict.fromkeys(accepted, 1).items()
    # Limits are counted by the new one, which knows what the former one had counted.
    answers = attempts_until_refused(scene, way.name.lower())
    assert answers[-2:] == [429, 429]
    assert answers.count(401) <= LOGINS
    come_back(redis, former, way)


def listeners(redis: WatchedRedis) -> int:
    """Who has subscribed to bells at the present master."""
    channels = redis.master().ask("PUBSUB", "CHANNELS") or []
    return len(channels)


def come_back(redis: WatchedRedis, former: Node, way: signal.Signals) -> None:
    """As a replica of the new one."""
    if way is signal.SIGKILL:
        former.store.kill()
        former.store.start()
    else:
        former.store.resume()
    until(redis.is_whole, "the former master does not follow")


def test_scripts_ask_the_sentinels_too(scene: Scene):
    client = blocking_client(scene.redis.url, timeout_seconds=1.0)
    try:
        assert client.info("server")["tcp_port"] == scene.redis.master().port
    finally:
        client.close()
