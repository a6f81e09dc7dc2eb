"""Fair shares: nobody has more than half while others wait, and everybody's turn comes."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.jobs.shares import SERVED_AT_ONCE, Company, Rotation

companies = st.lists(
    st.none() | st.integers(0, 200).map(lambda number: f"c{number:03}"),
    min_size=1,
    max_size=60,
    unique=True,
)
slots = st.integers(1, 300)
wants = st.integers(1, 700)


def run(rotation: Rotation, waiting: dict[Company, int], *, wanted: int) -> list[Company]:
    """One claim and its end: what was planned is taken, and runs to its end at once."""
    served = []
    for company, number in rotation.plan([c for c, n in waiting.items() if n], wanted):
        taken = min(number, waiting[company])
        waiting[company] -= taken
        served += [company] * taken
    for company in served:
        rotation.take(company)
    for company in served:
        rotation.free(company)
    return served


@given(waiting=companies, wanted=wants, slots=slots)
def test_a_claim_is_never_larger_than_asked(
    waiting: list[Company], wanted: int, slots: int
) -> None:
    plan = Rotation(slots).plan(waiting, wanted)
    assert 0 < sum(number for _, number in plan) <= wanted
    assert all(number > 0 for _, number in plan)
    assert len(plan) <= SERVED_AT_ONCE


@given(waiting=companies, wanted=wants, slots=slots)
def test_nobody_is_planned_twice_or_uncalled(
    waiting: list[Company], wanted: int, slots: int
) -> None:
    planned = [company for company, _ in Rotation(slots).plan(waiting, wanted)]
    assert len(set(planned)) == len(planned)
    assert set(planned) <= set(waiting)


@given(
    claims=st.lists(st.tuples(wants, st.floats(0, 1)), min_size=1, max_size=40),
    slots=slots,
    waiting=companies.filter(lambda found: len(found) > 1),
)
def test_no_company_holds_more_than_half_while_others_wait(
    claims: list[tuple[int, float]], slots: int, waiting: list[Company]
) -> None:
    rotation, held = Rotation(slots), Counter[Company]()
    for wanted, ending in claims:
        for company, number in rotation.plan(waiting, wanted):
            held[company] += number
            for _ in range(number):
                rotation.take(company)
        assert max(held.values(), default=0) <= max(1, slots // 2)
        for company in list(held):
            done = round(held[company] * ending)
            held[company] -= done
            for _ in range(done):
                rotation.free(company)


@given(waiting=companies, slots=slots, wanted=wants)
def test_everybody_is_served_within_one_round(
    waiting: list[Company], slots: int, wanted: int
) -> None:
    rotation = Rotation(slots)
    backlog = dict.fromkeys(waiting, 10**6)
    at_once = min(wanted, SERVED_AT_ONCE)
    served: set[Company] = set()
    for _ in range(-(-len(waiting) // at_once)):
        served |= set(run(rotation, backlog, wanted=wanted))
    assert served == set(waiting)


@given(waiting=companies.filter(lambda found: len(found) > 1), wanted=st.integers(1, 5))
def test_turns_go_round(waiting: list[Company], wanted: int) -> None:
    rotation = Rotation(1_000)
    backlog = dict.fromkeys(waiting, 10**6)
    turns: Counter[Company] = Counter()
    for _ in range(3 * len(waiting)):
        turns.update(run(rotation, backlog, wanted=wanted))
    assert max(turns.values()) - min(turns[company] for company in waiting) <= wanted


@given(wanted=wants, slots=slots, held=st.integers(0, 1_000))
def test_who_is_alone_gets_everything(wanted: int, slots: int, held: int) -> None:
    rotation = Rotation(slots)
    for _ in range(held):
        rotation.take("only")
    assert rotation.plan(["only"], wanted) == [("only", wanted)]


def test_a_small_company_is_done_long_before_a_large_one() -> None:
    rotation = Rotation(50)
    backlog: dict[Company, int] = {"large": 10_000, "small": 10}
    done = 0
    while backlog["small"]:
        done += run(rotation, backlog, wanted=50).count("large")
    assert done <= 200


def test_a_claim_for_nobody_or_nothing_is_empty() -> None:
    assert Rotation(5).plan([], 10) == []
    assert Rotation(5).plan(["a", "b"], 0) == []


def test_when_all_have_their_half_there_is_nothing_to_plan() -> None:
    rotation = Rotation(5)
    for company in ("a", "a", "b", "b"):
        rotation.take(company)
    assert rotation.plan(["a", "b"], 1) == []
    rotation.free("b")
    assert rotation.plan(["a", "b"], 1) == [("b", 1)]
