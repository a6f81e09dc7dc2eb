"""Fair shares: who is served next, and what nobody may exceed."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.mongo import Document
from novapulse.dispatch.board import Board, Limits, Seat, Turn

NOW = 1_000.0
DUE = datetime(2026, 11, 23, tzinfo=UTC)
LIMITS = Limits(200, 10)


def rows(number: int, *, due: datetime = DUE) -> list[Document]:
    return [{"_id": str(n), "dueAt": due + timedelta(milliseconds=n)} for n in range(number)]


def waiting(board: Board, webhook: str, number: int, **where: object) -> Seat:
    turn = where.get("turn", Turn.FIRST)
    assert isinstance(turn, Turn)
    seat = board.seat(webhook, str(where.get("company", webhook)))
    seat.waiting[turn].extend(rows(number))
    return seat


def test_a_webhook_gets_no_more_than_its_cap() -> None:
    board = Board()
    waiting(board, "a", 50)
    assert len(board.pick(NOW, LIMITS)) == 10
    assert board.pick(NOW, LIMITS) == []


def test_webhooks_are_served_one_each_in_turn() -> None:
    board = Board()
    waiting(board, "a", 100)
    waiting(board, "b", 2)
    waiting(board, "c", 1)
    order = [seat.webhook_id for seat, _, _ in board.pick(NOW, LIMITS)]
    assert order[:6] == ["a", "b", "c", "a", "b", "a"]


def test_who_came_first_last_time_comes_last_this_time() -> None:
    board = Board()
    for name in "abc":
        waiting(board, name, 5)
    limits = Limits(4, 10)
    first = [seat.webhook_id for seat, _, _ in board.pick(NOW, limits)]
    assert first == ["a", "b", "c", "a"]
    for name in first:
        board.free(board.seats[name], Turn.FIRST)
    assert board.pick(NOW, limits)[0][0].webhook_id == "b"


def test_a_company_gets_no_more_than_half_of_the_slots() -> None:
    board = Board()
    for number in range(30):
        waiting(board, f"w{number}", 20, company="greedy")
    assert len(board.pick(NOW, LIMITS)) == 100
    waiting(board, "other", 20, company="modest")
    assert len(board.pick(NOW, LIMITS)) == 10


def test_later_attempts_leave_three_in_ten_slots_for_first_ones() -> None:
    board = Board()
    for number in range(30):
        waiting(board, f"w{number}", 20, turn=Turn.LATER)
    assert len(board.pick(NOW, LIMITS)) == 140
    for number in range(30):
        waiting(board, f"w{number}", 20)
    turns = Counter(turn for _, turn, _ in board.pick(NOW, LIMITS))
    assert turns == {Turn.FIRST: 60}


def test_recovered_ones_get_a_quarter_of_a_webhooks_share() -> None:
    board = Board()
    waiting(board, "a", 50, turn=Turn.RECOVER)
    assert len(board.pick(NOW, LIMITS)) == 2
    waiting(board, "a", 50)
    assert Counter(turn for _, turn, _ in board.pick(NOW, LIMITS)) == {Turn.FIRST: 8}


def test_of_one_webhook_what_is_due_longest_comes_first() -> None:
    board = Board()
    seat = board.seat("a", "a")
    seat.waiting[Turn.FIRST].extend(rows(3, due=DUE + timedelta(seconds=1)))
    seat.waiting[Turn.LATER].extend(rows(2))
    turns = [turn for _, turn, _ in board.pick(NOW, LIMITS)]
    assert turns == [Turn.LATER, Turn.LATER, Turn.FIRST, Turn.FIRST, Turn.FIRST]


def test_nothing_is_begun_through_an_open_circuit() -> None:
    board = Board()
    seat = waiting(board, "a", 50)
    seat.breaker.open(NOW, until=NOW + 30)
    assert board.pick(NOW + 29, LIMITS) == []
    assert seat.wake_seconds(NOW + 29) == 1
    assert len(board.pick(NOW + 30, LIMITS)) == 1
    assert board.pick(NOW + 31, LIMITS) == []


def test_what_can_not_be_sent_is_put_away_whatever_its_circuit_says() -> None:
    board = Board()
    seat = waiting(board, "a", 50)
    seat.breaker.open(NOW, until=NOW + 30)
    seat.is_sendable = False
    assert len(board.pick(NOW, LIMITS)) == 10


def test_nothing_begins_for_one_that_is_about_to_be_disabled() -> None:
    board = Board()
    seat = waiting(board, "a", 50)
    seat.is_ending = True
    assert board.pick(NOW, LIMITS) == []
    assert seat.wake_seconds(NOW) is None
    seat.is_sendable = False  # it is disabled: what waits is put away
    assert len(board.pick(NOW, LIMITS)) == 10


def test_a_rate_bounds_what_begins() -> None:
    board = Board()
    seat = waiting(board, "a", 50)
    seat.per_second = 2
    assert len(board.pick(NOW, LIMITS)) == 1
    assert seat.wake_seconds(NOW) == 0.5


def test_idle_webhooks_are_forgotten_but_not_what_is_remembered_of_them() -> None:
    board = Board()
    board.seat("idle", "a")
    board.seat("failing", "a").breaker.failed(NOW)
    waiting(board, "waiting", 1)
    assert board.drop_idle() == ["idle"]
    assert set(board.seats) == {"failing", "waiting"}


places = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 2), st.sampled_from(Turn), st.integers(0, 30)),
    max_size=40,
)


@given(places, st.integers(1, 60), st.integers(1, 20))
def test_no_share_is_ever_exceeded(
    backlog: list[tuple[int, int, Turn, int]], total: int, per_webhook: int
) -> None:
    board, limits = Board(), Limits(total, per_webhook)
    for webhook, company, turn, number in backlog:
        waiting(board, f"{company}-{webhook}", number, company=f"c{company}", turn=turn)
    picked = board.pick(NOW, limits)
    assert len(picked) <= total
    assert all(n <= per_webhook for n in Counter(s.webhook_id for s, _, _ in picked).values())
    assert all(n <= limits.company for n in Counter(s.company_id for s, _, _ in picked).values())
    assert sum(turn is not Turn.FIRST for _, turn, _ in picked) <= limits.later
    for seat, turn, _ in picked:
        board.free(seat, turn)
    assert board.in_flight == 0
    assert all(not seat.in_flight and not seat.recovering for seat in board.seats.values())
