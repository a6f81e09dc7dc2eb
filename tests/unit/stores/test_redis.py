"""The question whether redis-server serves."""

import pytest

from novapulse.stores.redis import judge_ping


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b"", None),
        (b"+OK\r\n", None),
        (b"+OK\r\n+PONG\r", None),
        (b"+OK\r\n+PONG\r\n", True),
        (b"+OK\r\n-MISCONF Errors writing to the AOF file: No space left on device\r\n", True),
        (b"+OK\r\n-LOADING Redis is loading the dataset in memory\r\n", False),
        (b"-WRONGPASS invalid username-password pair or user is disabled.\r\n", None),
        (b"-WRONGPASS invalid\r\n-NOAUTH Authentication required.\r\n", False),
        (b"-ERR unknown command\r\n+PONG\r\n", False),
    ],
)
def test_it_serves_when_both_answers_are_there_and_good(answer: bytes, verdict: bool | None):
    assert judge_ping(answer) is verdict
