"""Templates: what they fill in, what they refuse, and that the worst of them only fail."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.errors import Invalid
from novapulse.rules import templates
from novapulse.rules.templates import FILTERS, MAX_RENDERED_CHARACTERS, render

SCOPE: dict[str, Any] = {
    "event": {
        "type": "task.created",
        "createdAt": "2026-11-23T16:29:53.501Z",
        "data": {
            "title": "Paint the hall",
            "labels": ["red", "blue"],
            "points": 3,
            "ratio": 0.5,
            "isUrgent": True,
            "assigneeId": None,
            "odd-key": "x",
            "quote": '"' * 100,
            "nested": {"a": {"b": ["c", {"d": "deep"}]}},
        },
    }
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("no template", "no template"),
        ("Do {{ event.data.title }}!", "Do Paint the hall!"),
        ("{{event.data.title}}", "Paint the hall"),
        ("{{ event.data.title }}{{ event.data.points }}", "Paint the hall3"),
        ("{{ event.data.points }}", 3),
        ("{{ event.data.labels }}", ["red", "blue"]),
        ("is {{ event.data.labels }}", 'is ["red","blue"]'),
        ("{{ event.data.labels.1 }}", "blue"),
        ("{{ event.data.labels.2 }}", None),
        ("{{ event.data.isUrgent }}", True),
        ("urgent: {{ event.data.isUrgent }}", "urgent: true"),
        ("{{ event.data.assigneeId }}", None),
        ("to {{ event.data.assigneeId }}.", "to ."),
        ("{{ event.data.nothing.at.all }}", None),
        ("{{ event.data.odd-key }}", "x"),
        ("{{ event.data.nested.a.b.1.d }}", "deep"),
        ("{{ event.data.title | upper }}", "PAINT THE HALL"),
        ("{{ event.data.title | truncate:6 | lower }}", "paint…"),
        ("{{ event.data.title | length }}", 14),
        ("{{ event.data.labels | length }}", 2),
        ("{{ event.data.labels | join:', ' }}", "red, blue"),
        ("{{ event.data.labels | json }}", '["red","blue"]'),
        ('{{ event.data.assigneeId | default:"nobody" }}', "nobody"),
        ("{{ event.data.points | default:5 }}", 3),
        ("{{ event.createdAt | date }} {{ event.createdAt | time }}", "2026-11-23 16:29"),
        ("{{ '{{' }} stays", "{{ stays"),
        ("}} alone is text", "}} alone is text"),
        ("{ event }", "{ event }"),
    ],
)
def test_a_template_is_filled_in(template: str, expected: Any) -> None:
    assert render(template, SCOPE) == expected


def test_every_text_of_a_value_is_filled_in_and_nothing_else() -> None:
    given = {"{{ event.type }}": ["{{ event.type }}", 1, None, {"a": "x {{ event.type }}"}]}
    assert render(given, SCOPE) == {
        "{{ event.type }}": ["task.created", 1, None, {"a": "x task.created"}]
    }


def test_what_is_filled_in_is_not_looked_at_again() -> None:
    scope = {"event": {"title": "{{ event.secret }}", "secret": "s"}}
    assert render("{{ event.title }} {{ event.title | upper }}", scope) == (
        "{{ event.secret }} {{ EVENT.SECRET }}"
    )


def test_what_is_to_be_kept_stays_as_it_is_written() -> None:
    template = "{{ steps.make.output.id }} of {{ event.type }}"
    assert render(template, SCOPE, keep=("steps",)) == "{{ steps.make.output.id }} of task.created"
    assert render("{{ steps.a }}", SCOPE, keep=("steps",)) == "{{ steps.a }}"


@pytest.mark.parametrize(
    "template",
    [
        *("{{", "{{ event", "{{ }}", "{{}}", "{{ | upper }}", "{{ event. }}", "{{ .event }}"),
        *("{{ event..type }}", "{{ event.type() }}", "{{ event['type'] }}", "{{ 1 + 1 }}"),
        *("{{ event.type | }}", "{{ event.type | nothing }}", "{{ event.type | upper:1 }}"),
        *("{{ event.type | truncate }}", "{{ event.type | truncate:'x' }}", "{{ a b }}"),
        *("{{ event.type | truncate:1,2 }}", "{{ event.type | default: }}", "{{ 'a }}"),
        *("{{ event.type:1 }}", "{{ event.type, 1 }}", "{% if x %}{{ % }}", "{{ ünï }}"),
        "{{ event.type " + "| upper " * 11 + "}}",
        "{{ " + ".".join("a" * 21) + " }}",
        "{{ event.type }}" + "x" * 10_000,
    ],
)
def test_a_template_that_can_not_be_read_is_refused(template: str) -> None:
    with pytest.raises(Invalid):
        render(template, SCOPE)
    with pytest.raises(Invalid) as refused:
        templates.check({"a": ["fine", template]}, "input")
    assert refused.value.errors[0].path == "input.a[1]"


@pytest.mark.parametrize(
    "path",
    [
        *("__class__", "event.__class__", "event.data.title.__class__", "event.data.upper"),
        *("event.data.labels.__len__", "event.data.labels.append", "event.data.points.real"),
        *("event.data.keys", "event.get", "event.data.title.0", "event.data.labels.-1"),
        *("event.__init__.__globals__", "event.data.nested.__class__.__mro__.1"),
    ],
)
def test_an_attribute_can_not_be_reached(path: str) -> None:
    assert render(f"{{{{ {path} }}}}", SCOPE) is None


@pytest.mark.parametrize(
    "template",
    [
        "{{ event }}" * 900,
        "{{ event.data.quote | json | json | json | json | json | json | json | json | json }}",
        "{{ event.data.quote" + " | json" * 10 + " }}",
        "{{ big.text }}{{ big.text }}{{ big.text }}",
        "{{ big.list }}",
        "{{ big.list | json }}",
        "{{ big.text | upper | json | json }}",
    ],
)
def test_a_template_can_not_blow_up_memory(template: str) -> None:
    scope = {**SCOPE, "big": {"text": '"' * 40_000, "list": ["x" * 100] * 1_000}}
    tracemalloc.start()
    try:
        with pytest.raises(Invalid, match="65536"):
            render([template] * 100, scope)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_all_templates_of_a_value_share_one_bound() -> None:
    half = "x" * (MAX_RENDERED_CHARACTERS // 2)
    assert render([half, half], {}) == [half, half]
    with pytest.raises(Invalid, match="65536"):
        render([half, half, "{{ 'one more' }}"], {})


@pytest.mark.parametrize("filters", ["time", "upper | date", "json | length", "join:'' | time"])
def test_a_large_value_is_not_made_a_text_time_and_again_for_a_few_characters(
    encoded: list[int], filters: str
) -> None:
    template = f"{{{{ input | {filters} }}}}" * 200
    with pytest.raises(Invalid, match="65536"):
        render([template] * 100, {"input": {"a": "x" * 20_000}})
    assert 20_000 < sum(encoded) < MAX_RENDERED_CHARACTERS + 21_000
    encoded.clear()
    with pytest.raises(Invalid, match="65536"):
        render([template] * 100, {"input": {"a": "x" * 900_000}})
    assert sum(encoded) < 901_000


def test_a_list_is_not_joined_into_more_than_may_come_out() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Invalid, match="65536"):
            render("{{ list | join:'" + "-" * 9_000 + "' | length }}", {"list": [1] * 10_000})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_a_text_is_not_read_from_end_to_end_for_nothing() -> None:
    scope = {"text": " " * 20_000}
    assert render("{{ text | trim }}", scope) == ""
    with pytest.raises(Invalid, match="65536"):
        render("{{ text | trim }}" * 4, scope)


def test_the_beginning_of_a_long_text_is_cheap() -> None:
    template = "{{ text | truncate:40 }}" * 50
    assert len(render(template, {"text": "x" * 60_000})) == 50 * 40


@given(st.text(alphabet="{}| :.,'\"ab1-_\n", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        made = render(text, {"a": {"b": "{{ a }}"}})
    except Invalid:
        return
    assert "{{" in text or made == text


@given(JSON, st.sampled_from(sorted(FILTERS)))
def test_a_filter_takes_any_value(value: Any, name: str) -> None:
    arguments = {"default": ":'x'", "truncate": ":5", "join": ":','"}.get(name, "")
    made = render(f"{{{{ v | {name}{arguments} }}}}", {"v": value})
    json.dumps(made)
    assert isinstance(render(f"<{{{{ v | {name}{arguments} }}}}>", {"v": value}), str)


@given(JSON)
def test_a_value_goes_through_a_template_unchanged(value: Any) -> None:
    assert render("{{ v }}", {"v": value}) == value
