"""How verbs end: for people, for scripts, into closed pipes and full disks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def novapulse(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "novapulse", *words],
        **{
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **options,
        },
        cwd=ROOT,
        text=True,
        timeout=30,
        check=False,
    )


def test_an_error_is_what_where_from_and_what_to_try(tmp_path: Path):
    done = novapulse("status", "--root", str(tmp_path))
    assert (done.returncode, done.stdout) == (69, "")
    what, where, hint = done.stderr.splitlines()
    assert what.startswith("error: NovaPulse is not running here")
    assert where == f"  from: {tmp_path}/run"
    assert hint == f"  try: novapulse run --root {tmp_path} starts it"


@pytest.mark.parametrize("verb", ["status", "reload", "restart", "drain", "doctor"])
def test_an_error_under_json_is_one_problem_document(tmp_path: Path, verb: str):
    if verb == "doctor":
        (tmp_path / "config.toml").write_text("[servr]\n")
    done = novapulse(verb, "--json", "--root", str(tmp_path))
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    assert done.stderr == ""
    if verb != "doctor":  # it goes on, and finds it
        assert (done.returncode, document["status"], document["code"]) == (69, 503, "not_running")
        assert document["type"] == "about:blank"


def test_a_wrong_command_line_is_2_and_under_json_a_problem_too():
    assert novapulse("status", "--nope").returncode == 2
    done = novapulse("status", "--nope", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["code"] == "usage"


def test_a_reader_that_hangs_up_is_no_error_message():
    pipe, theirs = os.pipe()
    os.close(pipe)
    done = novapulse("config", "show", "--root", "/nonexistent/root", stdout=theirs)
    os.close(theirs)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


def test_a_full_disk_is_named():
    with open("/dev/full", "w") as full:
        done = novapulse("config", "show", "--root", "/nonexistent/root", stdout=full)
    assert done.returncode == 69
    assert done.stderr == "error: can not write: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_disturb_nothing(closed: str):
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m novapulse version {closed}', sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(shell: str):
    done = novapulse("completion", shell)
    assert done.returncode == 0
    assert "_NOVAPULSE_COMPLETE" in done.stdout
    assert done.stderr == ""


def test_completion_knows_verbs_and_options():
    environ = {**os.environ, "_NOVAPULSE_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
    verbs = novapulse(env={**environ, "COMP_WORDS": "novapulse re"}).stdout.split()
    assert {"plain,reload", "plain,restart"} <= set(verbs)
    options = novapulse(
        env={**environ, "COMP_WORDS": "novapulse status --", "COMP_CWORD": "2"}
    ).stdout.split()
    assert "plain,--watch" in options


def test_no_colour_is_written_where_nobody_wants_it(tmp_path: Path):
    for words in (["--help"], ["config", "show", "--root", str(tmp_path)]):
        done = novapulse(*words, env={**os.environ, "NO_COLOR": "1"})
        assert "\x1b" not in done.stdout + done.stderr


def test_init_makes_a_private_root_once(tmp_path: Path):
    root = tmp_path / "nova"
    first = novapulse("init", str(root))
    assert (first.returncode, first.stdout) == (0, f"{root}/config.toml\n")
    assert root.stat().st_mode & 0o777 == 0o700
    assert (root / "config.toml").stat().st_mode & 0o777 == 0o600
    (root / "config.toml").write_text("# mine\n")
    again = novapulse("init", str(root))
    assert again.returncode == 0
    assert "unchanged" in again.stderr
    assert (root / "config.toml").read_text() == "# mine\n"
    assert novapulse("init", "-q", str(root)).stderr == ""


def test_logs_without_a_root_name_the_journal():
    done = novapulse("logs", "api-1", "--request", "abc")
    assert done.returncode == 69
    assert "journalctl -u novapulse -o cat -g 'abc'" in done.stderr


@pytest.mark.parametrize("words", [["status", "--watch", "--json"], ["logs", "-f", "--json"]])
def test_what_has_no_end_is_no_document(tmp_path: Path, words: list[str]):
    assert novapulse(*words, "--root", str(tmp_path)).returncode == 2
