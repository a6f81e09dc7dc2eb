"""The verbs as a whole: what each has for scripts, and how each kind of end is told."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from novapulse.cli.program import program
from novapulse.cli.verbs import VERBS
from novapulse.core import errors
from novapulse.core.exitcodes import EXIT_CODES

ROOT = Path(__file__).resolve().parents[3]
# Verbs whose answer is a text of another format, or what they do and not what they say.
OTHER_FORMATS = {"audit export", "completion", "metrics"}
DEEDS = {
    *(
        "company resume",
        "company suspend",
        "demo",
        "init",
        "keys adopt",
        "mail suppressions remove",
        "mail test",
    ),
    *("queue clear", "queue pause", "queue resume", "queue retry", "run", "stop"),
    *("support bundle", "token create", "upgrade apply", "upgrade rollback", "user create"),
    *("user disable", "user enable", "user reset-mfa", "user reset-password", "user unlock"),
}


def leaves(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, f"{above}{name} ")
        elif not command.hidden:
            yield above + name, command


def has_option(command: click.Command, option: str) -> bool:
    return any(option in one.opts for one in command.params)


def test_every_verb_that_answers_something_has_a_document_for_scripts():
    without = {name for name, command in leaves(program) if not has_option(command, "--json")}
    assert without == OTHER_FORMATS | DEEDS


def test_verbs_that_take_something_away_ask_and_can_be_tried_first():
    asking = {name for name, command in leaves(program) if has_option(command, "--yes")}
    trying = {name for name, command in leaves(program) if has_option(command, "--dry-run")}
    assert asking <= trying
    assert asking >= {"backup restore", "company suspend", "queue clear", "user disable"}


def ended(error: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`status`, in which this goes wrong."""
    code = (
        "import sys\n"
        "from novapulse.cli import main\n"
        "from novapulse.core import errors\n"
        "import novapulse.cli.status as verb\n"
        "def fail(*_, **__):\n"
        f"    raise {error}\n"
        "verb.status.callback = fail\n"
        "main(['status', *sys.argv[1:]])\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("kind", EXIT_CODES, ids=lambda kind: kind.__name__)
def test_each_class_of_error_has_its_exit_code_for_people_and_for_scripts(
    kind: type[errors.Error],
):
    error = f"errors.{kind.__name__}('it went wrong')"
    done = ended(error)
    assert (done.returncode, done.stdout) == (EXIT_CODES[kind], "")
    assert done.stderr.startswith("error: ")
    done = ended(error, "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (EXIT_CODES[kind], "")
    assert (document["schema"], document["exitCode"]) == (1, EXIT_CODES[kind])
    assert 400 <= document["status"] < 600


def test_a_bug_is_70_and_says_where_and_only_with_v_the_whole():
    done = ended("RuntimeError('oops')")
    assert done.returncode == 70
    what, where, hint = done.stderr.splitlines()
    assert what == "error: a bug: RuntimeError: oops"
    assert where.startswith("  from: ")
    assert "novapulse support bundle" in hint
    assert "Traceback" in ended("RuntimeError('oops')", "-v").stderr
    document = json.loads(ended("RuntimeError('oops')", "--json").stdout)
    assert (document["schema"], document["code"]) == (1, "internal_error")


def test_ctrl_c_is_130():
    assert ended("KeyboardInterrupt").returncode == 130


def test_every_verb_says_what_it_is_for():
    for name, command in leaves(program):
        assert command.help, name
        assert command.help.splitlines()[0].endswith((".", "code.")) or "\n" in command.help, name
    assert all(text for verb, (_, text) in VERBS.items() if verb != "process")
