"""Receivers that mean harm: an attempt ends in time, costs little memory, and says what it was.

The receivers run in a process of their own, so that the memory measured is ours alone.
"""

import gc
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from novapulse.core.settings import sections as keys
from tests.support import loops
from tests.support.api import Api, Person, open_api
from tests.support.appliance import note
from tests.support.hostile import SCRIPTS, HostileReceivers, hostile_receivers
from tests.support.stores import RunningStores

anyio_backend = loops.each_backend

TIMEOUT_SECONDS = 1
RSS_MIB = 20
# What each is told as: class, status, and how the error begins.
EXPECTED: dict[str, tuple[str, int | None, str | None]] = {
    "/endless": ("ok", 200, None),
    "/gzip": ("ok", 200, None),
    "/long-header": ("transient", None, "protocol"),
    "/many-headers": ("transient", None, "protocol"),
    "/drip": ("transient", None, "timeout"),
    "/drip-of-headers": ("transient", None, "timeout"),
    "/silent": ("transient", None, "timeout"),
    "/reset": ("transient", None, "reset"),
    "/status-999": ("transient", 999, None),
    "/nonsense": ("transient", None, "protocol"),
}


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileReceivers]:
    with hostile_receivers() as running:
        yield running


@pytest.fixture(scope="module")
async def open_to_loopback(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    webhooks = keys.Webhooks(allow_networks=("127.0.0.1/32",))
    async with open_api(stores, tmp_path_factory.mktemp("api"), webhooks=webhooks) as opened:
        yield opened


@pytest.fixture(scope="module")
async def ada(open_to_loopback: Api) -> Person:
    return await open_to_loopback.found_company()


async def meet(ada: Person, url: str) -> dict[str, Any]:
    """One attempt at the receiver: the row that the log has of it."""
    given = {"url": url, "events": ["*"], "timeoutSeconds": TIMEOUT_SECONDS}
    webhook = (await ada.post("/webhooks", given)).json()
    began = time.monotonic()
    answer = await ada.post(f"/webhooks/{webhook['id']}/test")
    took = time.monotonic() - began
    assert answer.status == 200, answer.body
    attempt: dict[str, Any] = answer.json()
    assert took <= TIMEOUT_SECONDS + 1
    assert attempt["timings"]["totalMs"] <= (TIMEOUT_SECONDS + 1) * 1_000
    assert len(attempt["body"].encode()) <= 3 * 16_384  # what is no UTF-8 takes three bytes
    logged = (await ada.get(f"/webhooks/{webhook['id']}/logs")).json()["data"]
    assert logged == [attempt]
    return attempt


def test_every_kind_of_receiver_has_its_class() -> None:
    assert EXPECTED.keys() == SCRIPTS.keys()


@pytest.mark.parametrize("path", EXPECTED)
async def test_a_hostile_receiver_is_recorded_in_time(
    ada: Person, hostile: HostileReceivers, path: str
) -> None:
    result, status, error = EXPECTED[path]
    attempt = await meet(ada, hostile.url(path))
    assert (attempt["class"], attempt["status"]) == (result, status)
    assert (attempt["error"] or "").partition(":")[0] == (error or "")
    assert attempt["truncated"] is (path in ("/endless", "/gzip"))


async def test_bad_tls_is_recorded_in_time(ada: Person, hostile: HostileReceivers) -> None:
    attempt = await meet(ada, hostile.untrusted_url)
    assert (attempt["class"], attempt["error"].partition(":")[0]) == ("transient", "tls")


def rss_mib(*, peak: bool = False) -> float:
    """What of us is in memory; the peak since `forget_peak`."""
    name = "VmHWM" if peak else "VmRSS"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1_024 for line in lines if line.startswith(name))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def test_all_of_them_together_cost_little_memory(
    ada: Person, hostile: HostileReceivers
) -> None:
    """The peak, and what stays; the first round warms up the parser and its pools."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("NOT TESTED: the peak of the memory can not be reset here")
    await meet(ada, hostile.url("/status-999"))
    gc.collect()
    before = rss_mib()
    forget_peak()
    every = [*map(hostile.url, EXPECTED), hostile.untrusted_url]
    for url in every * 3:
        await meet(ada, url)
    peak, after = rss_mib(peak=True) - before, rss_mib() - before
    note(f"{len(every) * 3} hostile receivers: {peak:.1f} MiB at the peak, {after:.1f} MiB stay")
    assert peak <= RSS_MIB
