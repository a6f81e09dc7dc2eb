"""How verbs end: for people, for scripts, into closed pipes and full disks."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
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


@pytest.mark.parametrize("words", [["queue", "list"], ["user", "list"], ["company", "list"]])
def test_where_nothing_ever_ran_a_verb_says_what_to_start(tmp_path: Path, words: list[str]):
    done = novapulse(*words, "--root", str(tmp_path))
    what, where, hint = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (69, "")
    assert what == f"error: NovaPulse has not been started with {tmp_path}/state yet"
    assert where == f"  from: {tmp_path}/state"
    assert hint.startswith("  try: novapulse run")


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


@pytest.mark.parametrize(
    ("words", "near"),
    [(["statsu"], "status"), (["queue", "lst"], "list"), (["status", "--jsno"], "--json")],
)
def test_a_misspelt_verb_or_option_is_answered_with_the_nearest(words: list[str], near: str):
    done = novapulse(*words)
    assert done.returncode == 2
    assert f"'{near}'" in done.stderr or f"Did you mean {near}?" in done.stderr


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


@pytest.mark.parametrize(
    ("environ", "is_coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_a_terminal_gets_colour_unless_somebody_wants_none(
    tmp_path: Path, environ: dict[str, str], is_coloured: bool
):
    (tmp_path / "config.toml").write_text("[servr]\n")
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    said = on_a_terminal("doctor", "--root", str(tmp_path), env={**plain, **environ})
    assert "BAD   configuration" in said
    assert ("\x1b[31m" in said) is is_coloured
    assert ("\x1b" in said) is is_coloured


def on_a_terminal(*words: str, env: dict[str, str]) -> str:
    """What a person sees."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as terminal:
        with subprocess.Popen(
            [sys.executable, "-m", "novapulse", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env=env,
        ) as running:
            os.close(theirs)
            said = b""
            with suppress(OSError):  # the end of a terminal
                while more := terminal.read(4096):
                    said += more
        assert running.returncode is not None
    return said.decode()


@pytest.mark.parametrize("words", [["--help"], ["config", "show"], ["doctor"]], ids=" ".join)
def test_a_pipe_never_gets_colour(tmp_path: Path, words: list[str]):
    root = [] if words == ["--help"] else ["--root", str(tmp_path)]
    done = novapulse(*words, *root, env={**os.environ, "TERM": "xterm"})
    assert done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_ctrl_c_ends_a_verb_without_a_traceback(tmp_path: Path):
    """Also while its modules load; only the interpreter itself may be in between."""
    ends = set()
    for hundredths in range(10, 60, 5):
        with subprocess.Popen(
            [sys.executable, "-m", "novapulse", "doctor", "--root", str(tmp_path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        ) as running:
            wait_until_it_is_ours(running.pid)
            time.sleep(hundredths / 100 - 0.1)
            running.send_signal(signal.SIGINT)
            _, complained = running.communicate(timeout=30)
        ends.add(running.returncode)
        assert complained.strip() == ""
    assert ends <= {130, -signal.SIGINT, 0, 1}
    assert ends & {130, -signal.SIGINT}


def wait_until_it_is_ours(pid: int) -> None:
    """Until the interpreter has begun, caught Ctrl-C, and our first step has let go of it."""
    deadline = time.monotonic() + 10
    has_begun = False
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/status").read_text()
        caught = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
        assert caught is not None
        is_caught = bool(int(caught[1], 16) & (1 << (signal.SIGINT - 1)))
        if has_begun and not is_caught:
            return
        has_begun = has_begun or is_caught
        time.sleep(0.0005)
    pytest.fail("it never let go of Ctrl-C")


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
