"""The time that MongoDB's calls may take: each alone, and those of a request together."""

from pymongo import _csot
from pymongo.errors import OperationFailure

from novapulse.core.errors import Unavailable
from novapulse.core.mongocalls import budget, measured, translate


async def limit() -> float | None:
    """What the driver is told that it may take; None: the client's own limit."""
    return _csot.remaining()


async def test_a_call_outside_a_request_has_the_limit_of_the_client():
    assert await measured("tasks", "find", limit()) is None


async def test_quick_calls_of_a_request_keep_the_limit_of_the_client():
    with budget(60.0):
        for _ in range(3):
            assert await measured("tasks", "find", limit()) is None


async def test_calls_that_waited_leave_less_to_those_that_follow():
    with budget(60.0) as shared:
        shared.left_seconds = 20.0
        first = await measured("tasks", "find", limit())
        shared.left_seconds = -1.0
        last = await measured("tasks", "find", limit())
    assert first is not None
    assert 10.0 < first <= 20.0
    assert last is not None
    assert last <= 0.05
    assert await measured("tasks", "find", limit()) is None


def test_a_sign_in_that_broke_off_is_nobodys_bug():
    told = {"ok": 0.0, "code": 17, "codeName": "ProtocolError"}
    assert (
        type(translate(OperationFailure("saslContinue must follow saslStart", 17, told)))
        is Unavailable
    )
