import json

from supervisor.report import json_line, plain_line, record


def test_a_record_is_one_json_line_with_time_level_and_event():
    entry = json.loads(json_line(record("warning", "process backoff", name="api-1", reason="")))
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "warning",
        "event": "process backoff",
        "process": "supervisor",
        "name": "api-1",
    }


def test_for_a_person_it_is_a_short_line():
    line = plain_line(record("info", "process ready", name="api-1", pid=7))
    assert line.split(b" ", 1)[1] == b"info process ready name=api-1 pid=7"
