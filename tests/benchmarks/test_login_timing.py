"""Does the time of a refused sign-in tell why? Unknown, wrong, disabled and delayed, interleaved.

The real application over real stores, without the network, whose noise would
hide a difference that a patient guesser finds. The aim: medians within 5 %.
"""

import random
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from structlog.testing import capture_logs

from novapulse.identity.attempts import password_key
from tests.support.api import PASSWORD, Api, open_api
from tests.support.appliance import note
from tests.support.stores import RunningStores

EACH = 200
WARM = 5
WRONG = "a wrong password"


async def refusals(api: Api) -> dict[str, Callable[[], Awaitable[None]]]:
    """One refused sign-in of each kind, by the reason."""
    ada, off, late = [await api.found_company() for _ in range(3)]
    users = api.runtime.db.platform("users")
    attempts = api.runtime.db.platform("attempts")
    await users.update_one({"_id": off.id}, {"$set": {"status": "disabled"}})

    async def refuse(email: str, password: str) -> None:
        answer = await api.client().post("/auth/login", {"email": email, "password": password})
        assert (answer.status, answer.code) == (401, "bad_credentials")

    for _ in range(5):
        await refuse(late.email, WRONG)
    forever = api.runtime.clock() + timedelta(days=1)
    await attempts.update_one(
        {"_id": password_key(late.email)}, {"$set": {"delayedUntil": forever}}
    )
    return {
        "wrong user": lambda: refuse("nobody@example.com", WRONG),
        "wrong password": lambda: refuse(ada.email, WRONG),
        "disabled": lambda: refuse(off.email, PASSWORD),
        "delayed": lambda: refuse(late.email, PASSWORD),
    }


async def measure(api: Api) -> dict[str, float]:
    """The median of each kind of refusal, in milliseconds."""
    kinds = await refusals(api)
    took: dict[str, list[float]] = {name: [] for name in kinds}
    order = list(kinds)
    for turn in range(WARM + EACH):
        # Without this all but one would be delayed after five of them.
        await api.runtime.db.platform("attempts").update_many(
            {"delayedUntil": {"$lt": api.runtime.clock() + timedelta(hours=1)}},
            {"$set": {"failures": 1}, "$unset": {"delayedUntil": ""}},
        )
        random.shuffle(order)
        for name in order:
            started = time.perf_counter()
            await kinds[name]()
            if turn >= WARM:
                took[name].append((time.perf_counter() - started) * 1_000)
    return {name: statistics.median(times) for name, times in took.items()}


async def test_refused_sign_ins_take_the_same_time(stores: RunningStores, tmp_path: Path) -> None:
    # Kept, not printed: each sign-in writes three lines.
    with capture_logs():
        async with open_api(stores, tmp_path, label="timing") as api:
            medians = await measure(api)
    middle = statistics.median(medians.values())
    for name, median in medians.items():
        note(f"{name:>14}: median {median:6.2f} ms, {median / middle:.3f} of the middle")
    spread = max(medians.values()) / min(medians.values())
    note(f"slowest to quickest: {spread:.3f} (aim ≤ 1.05)")
