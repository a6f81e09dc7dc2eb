"""Conditions: a tree of `all`, `any` and `not` over `{field, operator, value}`.

An operator compares values of one type: numbers with numbers, times with
times, text with text. Values of different types are not equal, and none of
them is greater. A field that is missing is null.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from novapulse.core.errors import Invalid
from novapulse.rules import templates
from novapulse.rules.paths import MISSING, is_path, resolve

MAX_CONDITIONS = 100
MAX_DEPTH = 5
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d))?", re.ASCII
)


class Operator(StrEnum):
    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    GREATER_THAN = "greater_than"
    LESS_THAN = "less_than"
    IN = "in"
    EXISTS = "exists"


class Condition(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"all_of": "all", "any_of": "any", "negated": "not"},
    forbid_unknown_fields=True,
):
    """Exactly one of `all`, `any`, `not` and `field` with its `operator`."""

    all_of: "Annotated[tuple[Condition, ...], msgspec.Meta(max_length=100)] | UnsetType" = UNSET
    any_of: "Annotated[tuple[Condition, ...], msgspec.Meta(max_length=100)] | UnsetType" = UNSET
    negated: "Condition | UnsetType" = UNSET
    field: Annotated[str, msgspec.Meta(max_length=200)] | UnsetType = UNSET
    operator: Operator | UnsetType = UNSET
    value: Any = UNSET

    def __post_init__(self) -> None:
        forms = (self.all_of, self.any_of, self.negated, self.field)
        if sum(form is not UNSET for form in forms) != 1:
            raise ValueError("Expected exactly one of `all`, `any`, `not` and `field`")
        if (self.field is UNSET) != (self.operator is UNSET):
            raise ValueError("Expected `field` and `operator` together")
        if self.field is UNSET and self.value is not UNSET:
            raise ValueError("Expected `value` beside `field` only")

    def children(self) -> Iterator[tuple[str, "Condition"]]:
        """The conditions right below this one, with their places."""
        for name, group in (("all", self.all_of), ("any", self.any_of)):
            if group is not UNSET:
                for position, child in enumerate(group):
                    yield f"{name}[{position}]", child
        if self.negated is not UNSET:
            yield "not", self.negated


def check(condition: Condition, path: str = "conditions") -> None:
    """Refuse a tree that is too large or can never hold what it says; raises Invalid."""
    if _check(condition, path, depth=1) > MAX_CONDITIONS:
        reason = f"there are at most {MAX_CONDITIONS} conditions, or templates in their values"
        raise Invalid.field(path, reason)


def _check(condition: Condition, path: str, *, depth: int) -> int:
    """How much there is to look at: leaves, or the expressions of those that have several."""
    if depth > MAX_DEPTH:
        raise Invalid.field(path, f"conditions nest at most {MAX_DEPTH} deep")
    if condition.field is UNSET:
        inner = sum(
            _check(child, f"{path}.{place}", depth=depth + 1)
            for place, child in condition.children()
        )
        return max(1, inner)
    if not is_path(condition.field):
        raise Invalid.field(f"{path}.field", "is no path such as event.data.status")
    templates.check(condition.value, f"{path}.value")
    expressions = sum(1 for _ in templates.expressions(condition.value))
    if not expressions:
        _check_value(condition, f"{path}.value")
    return max(1, expressions)


def _check_value(condition: Condition, path: str) -> None:
    operator, value = condition.operator, condition.value
    if operator is Operator.EXISTS:
        fits, expected = value is UNSET or isinstance(value, bool), "true or false"
    elif operator is Operator.IN:
        fits, expected = isinstance(value, list), "a list"
    elif operator in (Operator.GREATER_THAN, Operator.LESS_THAN):
        fits, expected = _ordered(value) is not None, "a number or a time"
    elif operator in (Operator.STARTS_WITH, Operator.ENDS_WITH):
        fits, expected = isinstance(value, str), "a text"
    else:
        fits, expected = value is not UNSET, "a value"
    if not fits:
        raise Invalid.field(path, f"the operator {operator} takes {expected}")


def holds(condition: Condition, scope: Mapping[str, Any]) -> bool:
    """Whether the condition is true of `scope`; whatever the values are, it says yes or no.

    No, if a template can not be read, or if all of them make more than one rendering may:
    a part that was not looked at would make a `not` true.
    """
    try:
        return _holds(condition, scope, budget=templates.Budget())
    except Invalid:
        return False


def _holds(condition: Condition, scope: Mapping[str, Any], *, budget: templates.Budget) -> bool:
    if condition.all_of is not UNSET:
        return all(_holds(child, scope, budget=budget) for child in condition.all_of)
    if condition.any_of is not UNSET:
        return any(_holds(child, scope, budget=budget) for child in condition.any_of)
    if condition.negated is not UNSET:
        return not _holds(condition.negated, scope, budget=budget)
    assert condition.field is not UNSET  # noqa: S101  # __post_init__ saw to it
    assert condition.operator is not UNSET  # noqa: S101  # likewise
    found = resolve(scope, condition.field)
    value = templates.render(condition.value, scope, budget=budget)
    if condition.operator in _LOOKING_THROUGH and isinstance(found, list):
        budget.spend(len(found))
    return _OPERATORS[condition.operator](None if found is MISSING else found, value)


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: 1 is 1.0, true is not 1, and two spellings of a time are one."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, str) and isinstance(other, str) and one != other:
        moment = _instant(one)
        return moment is not None and moment == _instant(other)
    return bool(one == other)


def _contains(found: Any, value: Any) -> bool:
    if isinstance(found, str):
        return isinstance(value, str) and value in found
    return isinstance(found, list) and any(_same(item, value) for item in found)


def _compare(found: Any, value: Any) -> int:
    """Which is greater: 1, -1, or 0 for neither and for what can not be compared."""
    one, other = _ordered(found), _ordered(value)
    if one is None or other is None or isinstance(one, datetime) != isinstance(other, datetime):
        return 0
    return int(one > other) - int(one < other)


def _ordered(value: Any) -> Any:
    """A number or a moment, or None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return _instant(value) if isinstance(value, str) else None


def _instant(text: str) -> datetime | None:
    """The moment that an RFC 3339 time or a date (its midnight in UTC) means, or None."""
    if not _INSTANT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _is_in(found: Any, value: Any) -> bool:
    return isinstance(value, list) and any(_same(found, item) for item in value)


def _exists(found: Any, value: Any) -> bool:
    return (found is not None) is (value is not False)


_LOOKING_THROUGH = (Operator.CONTAINS, Operator.NOT_CONTAINS)
_OPERATORS: Mapping[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQUALS: _same,
    Operator.NOT_EQUALS: lambda found, value: not _same(found, value),
    Operator.CONTAINS: _contains,
    Operator.NOT_CONTAINS: lambda found, value: not _contains(found, value),
    Operator.STARTS_WITH: lambda found, value: (
        isinstance(found, str) and isinstance(value, str) and found.startswith(value)
    ),
    Operator.ENDS_WITH: lambda found, value: (
        isinstance(found, str) and isinstance(value, str) and found.endswith(value)
    ),
    Operator.GREATER_THAN: lambda found, value: _compare(found, value) > 0,
    Operator.LESS_THAN: lambda found, value: _compare(found, value) < 0,
    Operator.IN: _is_in,
    Operator.EXISTS: _exists,
}
