"""What a subscription may say."""

import json
from typing import Any

import pytest
from msgspec import UNSET

from novapulse.core import wire
from novapulse.core.errors import Invalid, Malformed
from novapulse.webhooks.model import NewWebhook

GOOD: dict[str, Any] = {"url": "https://example.com/", "events": ["task.created"]}


def read(**changes: Any) -> NewWebhook:
    return wire.decode(json.dumps({**GOOD, **changes}).encode(), NewWebhook)


def test_the_rest_has_defaults() -> None:
    webhook = read()
    assert (webhook.retries, webhook.is_active, webhook.timeout_seconds) == (3, True, UNSET)


@pytest.mark.parametrize("pattern", ["*", "task.*", "task.created", "user.role_changed"])
def test_events_are_named_exactly_or_by_their_beginning(pattern: str) -> None:
    assert read(events=[pattern]).events == (pattern,)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "task",
        "task.",
        ".created",
        "**",
        "*.created",
        "task.*.x",
        "Task.created",
        "task created",
        "task.created\n",
        "task.$where",
        "task.cre*",
        "t" * 101 + ".*",
    ],
)
def test_other_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(events=[pattern])
    assert caught.value.errors[0].path == "events[0]"


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("events", [[], "task.created", ["*"] * 101, [1]]),
        ("retries", [-1, 21, 1.5, "3", True, None]),
        ("timeoutSeconds", [0, 31, None]),
        ("isActive", ["true", 1, None]),
        ("description", ["x" * 501, 5]),
        ("url", ["", None, "x" * 2049]),
        ("secret", ["whsec_mine"]),
        ("companyId", ["0" * 24]),
    ],
)
def test_values_out_of_range_are_named(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(Invalid) as caught:
            read(**{field: value})
        assert caught.value.errors[0].path.startswith(field), value


def test_a_description_has_no_nul() -> None:
    with pytest.raises((Invalid, Malformed)):
        read(description="a\0b")
