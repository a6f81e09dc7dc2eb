from novapulse.core.settings.sections import Supervision
from novapulse.processes.wear import Wear

NEVER = Supervision()


class Worn:
    """A process whose clock and dice a test holds."""

    def __init__(self, chance: float = 0.0) -> None:
        self.now = 0.0
        self.asked: list[str] = []
        self.wear = Wear(self.asked.append, clock=lambda: self.now, chance=lambda: chance)

    def look(self, limits: Supervision, *, requests: int = 0, megabytes: int = 1) -> None:
        self.wear.look(limits, requests=requests, rss_bytes=megabytes * 1_000_000)


def test_without_limits_nothing_is_ever_worn():
    worn = Worn()
    worn.now = 1e9
    worn.look(NEVER, requests=10**12, megabytes=10**6)
    assert worn.asked == []


def test_a_process_over_its_requests_asks_to_be_replaced():
    worn = Worn()
    worn.now = 60
    worn.look(Supervision(max_requests=100), requests=100)
    assert worn.asked == []
    worn.look(Supervision(max_requests=100), requests=101)
    assert worn.asked == ["answered 101 requests"]


def test_a_process_over_its_memory_asks_to_be_replaced():
    worn = Worn()
    worn.now = 60
    worn.look(Supervision(max_rss_mb=200), megabytes=201)
    assert worn.asked == ["uses 201 MB of memory"]


def test_limits_differ_by_up_to_a_fifth_so_that_not_all_go_at_once():
    worn = Worn(chance=1.0)
    worn.now = 60
    worn.look(Supervision(max_requests=100), requests=120)
    assert worn.asked == []
    worn.look(Supervision(max_requests=100), requests=121)
    assert len(worn.asked) == 1


def test_a_young_process_never_asks_and_an_old_one_not_all_the_time():
    worn = Worn()
    for second in range(200):
        worn.now = second
        worn.look(Supervision(max_requests=1), requests=10_000)
    assert len(worn.asked) == 4  # at 10 s, then once a minute
