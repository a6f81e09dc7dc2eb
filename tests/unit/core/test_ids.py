import re

from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.ids import derived_id, new_id

SHAPE = re.compile(r"[a-z]{2,5}_[0-9a-hjkmnp-tv-z]{26}")
PARTS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))


def test_an_id_is_a_prefix_and_26_characters_that_are_hard_to_confuse() -> None:
    assert SHAPE.fullmatch(new_id("evt"))


def test_ids_are_never_the_same() -> None:
    assert len({new_id("evt") for _ in range(10_000)}) == 10_000


def test_later_ids_sort_after_earlier_ones() -> None:
    heads = [new_id("evt")[:14] for _ in range(1_000)]
    assert heads == sorted(heads)


@given(PARTS)
def test_the_same_parts_give_the_same_id(parts: list[str]) -> None:
    parent = new_id("evt")
    assert derived_id("dlv", parent, *parts) == derived_id("dlv", parent, *parts)
    assert SHAPE.fullmatch(derived_id("dlv", parent, *parts))


@given(PARTS, PARTS)
def test_other_parts_give_another_id(some: list[str], others: list[str]) -> None:
    parent = new_id("evt")
    ids = {derived_id("dlv", parent, *some), derived_id("dlv", parent, *others)}
    assert len(ids) == (1 if some == others else 2)


def test_another_parent_gives_another_id() -> None:
    assert derived_id("dlv", new_id("evt"), "w") != derived_id("dlv", new_id("evt"), "w")


def test_a_derived_id_sorts_beside_its_parent() -> None:
    parents = [f"evt_{head:010d}{'0' * 16}" for head in range(100)]
    children = [derived_id("dlv", parent, "w") for parent in parents]
    assert children == sorted(children)
    assert all(p[4:14] == c[4:14] for p, c in zip(parents, children, strict=True))


def test_a_child_of_a_child_keeps_the_place() -> None:
    event = new_id("evt")
    delivery = derived_id("dlv", event, "w", "0")
    assert derived_id("job", delivery)[4:14] == event[4:14]
