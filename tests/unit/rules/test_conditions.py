"""Conditions: every operator with values of every type, trees, and what is refused at once."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core import wire
from novapulse.core.errors import Invalid, Malformed
from novapulse.rules import conditions, templates
from novapulse.rules.conditions import Condition, Operator, holds

TASK = {
    "title": "Paint the hall",
    "priority": "urgent",
    "points": 3,
    "isUrgent": True,
    "dueAt": "2026-11-23T16:00:00.000Z",
    "labels": ["red", 2],
    "assigneeId": None,
    "owner": {"id": "u1"},
}
SCOPE = {"event": {"data": TASK, "type": "task.created"}}


def read(tree: Any) -> Condition:
    return wire.decode(json.dumps(tree).encode(), Condition)


def is_true(name: str, operator: str, *value: Any) -> bool:
    leaf = {"field": f"event.data.{name}", "operator": operator}
    return holds(read(leaf | ({"value": value[0]} if value else {})), SCOPE)


@pytest.mark.parametrize(
    ("name", "operator", "value", "expected"),
    [
        ("priority", "equals", "urgent", True),
        ("priority", "equals", "Urgent", False),
        ("points", "equals", 3, True),
        ("points", "equals", 3.0, True),
        ("points", "equals", "3", False),
        ("points", "equals", True, False),
        ("isUrgent", "equals", True, True),
        ("isUrgent", "equals", 1, False),
        ("dueAt", "equals", "2026-11-23T17:00:00+01:00", True),
        ("assigneeId", "equals", None, True),
        ("missing", "equals", None, True),
        ("labels", "equals", ["red", 2], True),
        ("labels", "equals", ["red", True], False),
        ("owner", "equals", {"id": "u1"}, True),
        ("owner", "equals", {"id": "u2"}, False),
        ("priority", "not_equals", "low", True),
        ("priority", "not_equals", "urgent", False),
        ("missing", "not_equals", "x", True),
        ("title", "contains", "the", True),
        ("title", "contains", "The", False),
        ("title", "contains", 1, False),
        ("labels", "contains", "red", True),
        ("labels", "contains", 2, True),
        ("labels", "contains", "re", False),
        ("points", "contains", 3, False),
        ("missing", "contains", "x", False),
        ("title", "not_contains", "x", True),
        ("labels", "not_contains", "red", False),
        ("missing", "not_contains", "x", True),
        ("title", "starts_with", "Paint", True),
        ("title", "starts_with", "hall", False),
        ("points", "starts_with", "3", False),
        ("title", "ends_with", "hall", True),
        ("title", "ends_with", "Paint", False),
        ("missing", "ends_with", "", False),
        ("points", "greater_than", 2, True),
        ("points", "greater_than", 2.5, True),
        ("points", "greater_than", 3, False),
        ("title", "greater_than", 1, False),
        ("isUrgent", "greater_than", 0, False),
        ("dueAt", "greater_than", "2026-11-23", True),
        ("dueAt", "greater_than", "2026-11-23T16:00:00.000Z", False),
        ("dueAt", "greater_than", 5, False),
        ("missing", "greater_than", 0, False),
        ("points", "less_than", 4, True),
        ("points", "less_than", 3, False),
        ("dueAt", "less_than", "2026-11-23T18:00:00+01:00", True),
        ("missing", "less_than", 1, False),
        ("priority", "in", ["high", "urgent"], True),
        ("priority", "in", [], False),
        ("points", "in", [1, 2, 3], True),
        ("isUrgent", "in", [1], False),
        ("missing", "in", [None], True),
        ("title", "exists", True, True),
        ("title", "exists", False, False),
        ("assigneeId", "exists", True, False),
        ("missing", "exists", False, True),
        ("title.missing", "exists", True, False),
    ],
)
def test_an_operator_compares_values_of_one_type(
    name: str, operator: str, value: Any, expected: bool
) -> None:
    assert is_true(name, operator, value) is expected


def test_every_operator_is_in_the_table_above() -> None:
    mark = test_an_operator_compares_values_of_one_type.pytestmark[0]  # type: ignore[attr-defined]  # pytest's
    assert {row[1] for row in mark.args[1]} == set(Operator)


def test_exists_needs_no_value() -> None:
    assert is_true("title", "exists")


def test_a_value_may_be_a_template() -> None:
    tree = {"field": "event.data.owner.id", "operator": "equals", "value": "{{ event.data.by }}"}
    scope = {"event": {"data": {"owner": {"id": "u1"}, "by": "u1"}}}
    assert holds(read(tree), scope)


YES = {"field": "event.type", "operator": "exists"}
NO = {"field": "event.nothing", "operator": "exists"}


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"all": []}, True),
        ({"any": []}, False),
        ({"all": [YES, YES]}, True),
        ({"all": [YES, NO]}, False),
        ({"any": [NO, YES]}, True),
        ({"any": [NO, NO]}, False),
        ({"not": NO}, True),
        ({"not": {"all": [YES, {"any": [NO, {"not": NO}]}]}}, False),
    ],
)
def test_a_tree_says_what_its_leaves_say(tree: Any, expected: bool) -> None:
    assert holds(read(tree), SCOPE) is expected


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"all": [], "any": []},
        {"field": "event.type"},
        {"operator": "exists"},
        {"field": "event.type", "operator": "matches", "value": "x"},
        {"all": [{"value": 1}]},
        {"not": [YES]},
        {"all": YES},
        {**YES, "not": YES},
        {"all": [YES], "value": 1},
        {"all": [YES], "operator": "equals"},
        {**YES, "extra": 1},
    ],
)
def test_a_tree_of_another_shape_is_refused(tree: Any) -> None:
    with pytest.raises(Invalid):
        read(tree)


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ({"field": "event", "operator": "greater_than", "value": "x"}, "conditions.value"),
        ({"field": "event", "operator": "less_than", "value": True}, "conditions.value"),
        ({"field": "event", "operator": "in", "value": "x"}, "conditions.value"),
        ({"field": "event", "operator": "starts_with", "value": 1}, "conditions.value"),
        ({"field": "event", "operator": "equals"}, "conditions.value"),
        ({"field": "event", "operator": "exists", "value": "x"}, "conditions.value"),
        ({"field": "event type", "operator": "exists"}, "conditions.field"),
        ({"any": [YES, {"not": {**YES, "field": ""}}]}, "conditions.any[1].not.field"),
        ({"field": "event", "operator": "equals", "value": "{{ x"}, "conditions.value"),
        ({"all": [YES] * 100 + [{"all": [YES]}]}, ""),
        ({"all": [{"all": [YES] * 51}, {"any": [YES] * 50}]}, "conditions"),
        ({"all": [{"all": [{"any": []}] * 51}, {"all": [{"all": []}] * 50}]}, "conditions"),
        ({"field": "event", "operator": "equals", "value": "{{ event }}" * 101}, "conditions"),
    ],
)
def test_what_can_never_hold_is_refused_with_its_place(tree: Any, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        conditions.check(read(tree))
    assert path in refused.value.errors[0].path


def test_a_tree_is_at_most_five_deep() -> None:
    tree: Any = YES
    for _ in range(4):
        tree = {"not": tree}
    conditions.check(read(tree))
    with pytest.raises(Invalid, match="deep"):
        conditions.check(read({"not": tree}))
    for _ in range(500):
        tree = {"not": tree}
    with pytest.raises((Invalid, Malformed)):
        read(tree)


def test_all_templates_of_a_tree_share_one_bound(encoded: list[int]) -> None:
    leaf = {"field": "input.q", "operator": "equals", "value": "{{ input | time }}"}
    scope = {"input": {"q": "x", "a": "x" * 20_000}}
    for tree in ({"any": [leaf] * 100}, {"all": [{"not": leaf}] * 100}):
        encoded.clear()
        assert not holds(read(tree), scope)
        assert 20_000 < sum(encoded) < templates.MAX_RENDERED_CHARACTERS + 21_000
    assert holds(read({"any": [{"not": leaf}]}), scope)


def test_a_part_that_is_not_looked_at_makes_no_not_true() -> None:
    greedy = {"field": "event", "operator": "equals", "value": "{{ event.big | upper }}"}
    scope = {"event": {"big": "x" * 70_000, "type": "task.created"}}
    assert not holds(read({"not": {"any": [greedy, YES]}}), scope)
    assert not holds(read({"any": [greedy, YES]}), scope)
    assert holds(read({"any": [YES, greedy]}), scope)


def test_the_items_that_a_tree_looks_through_are_bounded() -> None:
    leaf = {"field": "input.list", "operator": "not_contains", "value": "x"}
    scope = {"input": {"list": ["y"] * 20_000}}
    assert holds(read({"all": [leaf] * 3}), scope)
    assert not holds(read({"all": [leaf] * 4}), scope)


def test_a_tree_looks_the_same_after_a_trip() -> None:
    tree = {"all": [YES, {"not": {"field": "a", "operator": "in", "value": [1, None]}}]}
    assert json.loads(wire.encode(read(tree))) == tree


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(-2, 2)
    | st.sampled_from(
        ["", "a", "ab", "2026-11-23", "2026-13-99", "2026-11-23T00:00:00Z", "{{ x }}", "{{ y"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=5,
)


@given(VALUES, st.sampled_from(Operator), VALUES)
def test_whatever_the_values_are_the_answer_is_yes_or_no(
    found: Any, operator: Operator, value: Any
) -> None:
    condition = Condition(field="x", operator=operator, value=value)
    assert holds(condition, {"x": found}) in (True, False)


@given(VALUES, VALUES)
def test_opposites_never_agree(found: Any, value: Any) -> None:
    pairs = [("equals", "not_equals"), ("contains", "not_contains")]
    if "{{" in str(value):
        return
    for one, other in pairs:
        answers = [
            holds(Condition(field="x", operator=Operator(name), value=value), {"x": found})
            for name in (one, other)
        ]
        assert answers[0] is not answers[1]


@given(VALUES, VALUES)
def test_nothing_is_both_greater_and_less(found: Any, value: Any) -> None:
    answers = [
        holds(Condition(field="x", operator=operator, value=value), {"x": found})
        for operator in (Operator.GREATER_THAN, Operator.LESS_THAN)
    ]
    assert not all(answers)
