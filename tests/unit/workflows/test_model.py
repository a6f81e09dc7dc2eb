"""Workflows as values: their steps in order, and what is hidden of them."""

import json

from novapulse.core import wire
from novapulse.workflows.model import HIDDEN, NewWorkflow, ScheduleTrigger, Workflow
from tests.unit.core.test_events import AT

GIVEN = {
    "name": "x",
    "trigger": {"type": "schedule", "cron": "0 9 * * *", "timeZone": "UTC"},
    "actions": [
        {"type": "log", "input": {"message": "a"}},
        {
            "type": "parallel",
            "actions": [
                {"type": "log", "input": {"message": "b"}},
                {"type": "call_webhook", "input": {"url": "u", "headers": {"X-Key": "s3cret"}}},
            ],
        },
        {"type": "log", "input": {"message": "c"}},
    ],
}


def workflow() -> Workflow:
    command = wire.decode(json.dumps(GIVEN).encode(), NewWorkflow)
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    return Workflow(id="1", created_by="u", created_at=AT, updated_at=AT, **fields)


def test_a_group_is_one_stage() -> None:
    places = [(stage, branch, spec.type) for stage, branch, spec in workflow().placed()]
    assert places == [
        *((0, 0, "log"), (1, 0, "log")),
        *((1, 1, "call_webhook"), (2, 0, "log")),
    ]


def test_values_of_headers_are_hidden_wherever_they_are() -> None:
    hidden = wire.encode(workflow().hidden())
    assert b"s3cret" not in hidden
    assert b'"X-Key":"%s"' % HIDDEN.encode() in hidden
    assert b"s3cret" in wire.encode(workflow())


def test_a_trigger_says_its_type_when_it_is_shown() -> None:
    trigger = ScheduleTrigger(cron="0 9 * * *")
    assert wire.to_wire(trigger) == {"type": "schedule", "cron": "0 9 * * *", "timeZone": "UTC"}
