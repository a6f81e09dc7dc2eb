"""What a subscription may say, and what becomes of it when it is changed."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import UNSET

from novapulse.core import wire
from novapulse.core.errors import Invalid, Malformed
from novapulse.subscriptions.model import (
    ChangeWebhook,
    NewWebhook,
    RotateSecret,
    Webhook,
    WebhookState,
)

GOOD: dict[str, Any] = {"url": "https://example.com/", "events": ["task.created"]}
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def read(**changes: Any) -> NewWebhook:
    return wire.decode(json.dumps({**GOOD, **changes}).encode(), NewWebhook)


def change(**fields: Any) -> ChangeWebhook:
    return wire.decode(json.dumps(fields).encode(), ChangeWebhook)


def webhook() -> Webhook:
    return Webhook(
        id="0" * 24,
        url="https://example.com/",
        events=("*",),
        retries=3,
        is_active=True,
        description=None,
        timeout_seconds=15,
        created_at=NOW,
        updated_at=NOW,
    )


def test_the_rest_has_defaults() -> None:
    made = read()
    assert (made.retries, made.is_active, made.timeout_seconds) == (3, True, UNSET)
    assert (made.headers, made.rate) == ({}, None)


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
    for made in (read, change):
        with pytest.raises(Invalid) as caught:
            made(events=[pattern])
        assert caught.value.errors[0].path == "events[0]"


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("events", [[], "task.created", ["*"] * 101, [1]]),
        ("retries", [-1, 21, 1.5, "3", True, None]),
        ("timeoutSeconds", [0, 31, None]),
        ("rate", [0, 1_001, 0.5, "1"]),
        ("isActive", ["true", 1, None]),
        ("description", ["x" * 501, 5]),
        ("headers", [["a"], {"a": 1}, {"a": {"$ne": 1}}, {"a": "x" * 1_025}]),
        ("url", ["", None, "x" * 2049]),
        ("secret", ["whsec_mine"]),
        ("companyId", ["0" * 24]),
        ("state", ["disabled"]),
        ("keyId", ["0" * 24]),
    ],
)
def test_values_out_of_range_are_named(field: str, values: list[Any]) -> None:
    for made in (read, change):
        for value in values:
            with pytest.raises(Invalid) as caught:
                made(**{field: value})
            assert caught.value.errors[0].path.startswith(field), value


@pytest.mark.parametrize("seconds", [-1, 604_801, 1.5, "60", None])
def test_an_overlap_is_at_most_a_week(seconds: Any) -> None:
    assert wire.decode(b"{}", RotateSecret).overlap_seconds == 86_400
    with pytest.raises(Invalid):
        wire.decode(json.dumps({"overlapSeconds": seconds}).encode(), RotateSecret)


def test_a_description_has_no_nul() -> None:
    with pytest.raises((Invalid, Malformed)):
        read(description="a\0b")


def test_a_change_touches_what_it_names() -> None:
    after = webhook().changed(change(retries=0, description="x", rate=5), header_names=())
    assert webhook().differs(after) == ("retries", "description", "rate")
    again = after.changed(change(description=None, rate=None), header_names=())
    assert (again.retries, again.description, again.rate) == (0, None, None)


def test_events_that_are_named_twice_are_one() -> None:
    after = webhook().changed(change(events=["task.*", "task.*", "*"]), header_names=())
    assert after.events == ("task.*", "*")


def test_a_webhook_is_active_paused_or_disabled_for_a_reason() -> None:
    paused = webhook().activated(is_active=False)
    assert (paused.state, paused.is_active) == (WebhookState.PAUSED, False)
    disabled = webhook().disabled("failed for 5 days")
    assert (disabled.state, disabled.is_active) == (WebhookState.DISABLED, False)
    assert disabled.disabled_reason == "failed for 5 days"
    # Pausing what is disabled does not hide that it is.
    assert disabled.activated(is_active=False) == disabled
    for one in (paused, disabled):
        resumed = one.changed(change(isActive=True), header_names=())
        assert (resumed.state, resumed.disabled_reason) == (WebhookState.ACTIVE, None)
        assert resumed == webhook()
