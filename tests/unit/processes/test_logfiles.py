import json
from pathlib import Path

import pytest

from novapulse.processes.logfiles import LogFiles


def line(second: int, text: str, **fields: object) -> str:
    stamp = f"2026-11-23T10:00:{second:02}.000Z"
    return json.dumps({"time": stamp, "event": text, **fields}) + "\n"


@pytest.fixture
def files(tmp_path: Path) -> LogFiles:
    (tmp_path / "api-1.log").write_text(
        line(1, "first", requestId="r1") + line(5, "fifth") + "Traceback\n  more\n"
    )
    (tmp_path / "api-1.log.1").write_text(line(0, "older", requestId="r1"))
    (tmp_path / "api-1.log.2").write_text(line(0, "oldest", requestId="r1"))
    (tmp_path / "webhook-1.log").write_text(line(3, "third", requestId="r1"))
    (tmp_path / "redis.log").write_text("17:M 23 Nov 2026 10:00:04.000 * Ready\n")
    (tmp_path / "mongod.log").write_text(
        '{"t":{"$date":"2026-11-23T10:00:02.000+00:00"},"msg":"second"}\n'
    )
    return LogFiles(tmp_path)


def texts(found) -> list[str]:
    return [one.text for one in found]


def test_the_lines_of_all_processes_are_in_the_order_of_their_time(files: LogFiles):
    names = [one.name for one in files.read(files.matching(None), limit=100)]
    assert names == ["api-1", "mongod", "webhook-1", "redis", "api-1", "api-1", "api-1"]


def test_a_line_without_a_time_stays_with_the_one_before_it(files: LogFiles):
    assert texts(files.read(["api-1"], limit=3))[1:] == ["Traceback", "  more"]


def test_a_limit_counts_from_the_end(files: LogFiles):
    assert texts(files.read(files.matching(None), limit=2)) == ["Traceback", "  more"]


def test_a_story_is_read_from_the_rotated_files_too(files: LogFiles):
    found = files.read(files.matching(None), limit=None, holding="r1")
    assert [json.loads(text)["event"] for text in texts(found)] == [
        "oldest",
        "older",
        "first",
        "third",
    ]


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (None, ["api-1", "mongod", "redis", "webhook-1"]),
        ("api", ["api-1"]),
        ("api-1", ["api-1"]),
        ("consumer", ["webhook-1"]),
        ("consumer:webhook", ["webhook-1"]),
        ("redis", ["redis"]),
        ("nobody", []),
        ("../secrets", []),
        (".*", []),
    ],
)
def test_a_target_is_a_name_or_a_role(files: LogFiles, target: str | None, names: list[str]):
    assert files.matching(target) == names


def test_a_long_file_is_read_from_its_end(tmp_path: Path):
    text = "".join(line(1, f"line {number}") for number in range(5_000))
    (tmp_path / "api-1.log").write_text(text)
    found = LogFiles(tmp_path).read(["api-1"], limit=3)
    events = [json.loads(one)["event"] for one in texts(found)]
    assert events == ["line 4997", "line 4998", "line 4999"]


def test_following_sees_whole_lines_a_rotation_and_a_new_process(tmp_path: Path):
    path = tmp_path / "api-1.log"
    path.write_text("before\n")
    files = LogFiles(tmp_path)
    steps = iter(
        [
            lambda: path.write_text("before\none\ntw"),
            lambda: append(path, "o\nthree\n"),
            lambda: append(path, "four\n"),
            lambda: path.rename(tmp_path / "api-1.log.1"),
            lambda: path.write_text("five\n"),
            lambda: (tmp_path / "api-2.log").write_text("six\n"),
        ]
    )

    def names() -> list[str]:
        """Asked before every look: the moment for the next thing to happen."""
        if names.calls:  # type: ignore[attr-defined]  # counts on itself
            next(steps, lambda: None)()
        names.calls += 1  # type: ignore[attr-defined]  # likewise
        return files.matching(None)

    names.calls = 0  # type: ignore[attr-defined]  # likewise
    following = files.follow(names)
    seen = [next(following) for _ in range(6)]
    following.close()
    assert texts(seen) == ["one", "two", "three", "four", "five", "six"]
    assert seen[-1].name == "api-2"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)
