"""Where values come from: the file, the environment, flags; each collected into a draft."""

import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from novapulse.core.settings.declare import Declaration
from novapulse.core.settings.locate import line_of, locate_keys
from novapulse.core.settings.problems import Problem, nearest
from novapulse.core.settings.redact import shown
from novapulse.core.settings.render import toml_line
from novapulse.core.settings.tree import DECLARATIONS, SECTIONS
from novapulse.core.settings.values import from_text, from_toml

# Names that the predecessor of this program used; NOVAPULSE__… wins over them.
ALIASES = {
    "REDIS_URL": "redis.url",
    "MONGO_URI": "mongo.uri",
    "QUEUE_CONCURRENCY": "queues.concurrency",
    "SERVICE_NAME": "tracing.service_name",
}
_PREFIX = "NOVAPULSE__"
_LARGEST_FILE = 1_048_576
_MOST_PROBLEMS = 50
_LONGEST_NAME = 80
_LONGEST_WHY = 300
_OTHERS_MAY_READ = 0o004
_TOML_ERROR = re.compile(r"(?P<what>.*) \(at (line (?P<line>\d+), column \d+|end of document)\)")


class Draft:
    """Values, origins, problems and warnings so far; a later source overrides an earlier one."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.origins: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.is_readable_by_all = False

    def set(self, name: str, where: str, convert: Callable[[Declaration], object]) -> None:
        """Take one value, or note why it is not acceptable."""
        declaration = DECLARATIONS[name]
        try:
            self.values[name] = convert(declaration)
        except ValueError as error:
            example = toml_line(declaration)
            hint = f"for example {example} (novapulse config explain {name})"
            self.note(Problem(name, f"{name}: {str(error)[:_LONGEST_WHY]}", where, hint))
        self.origins[name] = where

    def note(self, problem: Problem) -> None:
        """Remember a problem; a flood of them is cut."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)

    def unknown(self, name: str, where: str, *, variable: str = "") -> None:
        """Note a name that no setting has, with the one that was probably meant."""
        if len(self.problems) >= _MOST_PROBLEMS:
            return
        name = _printable(name)
        if variable:
            meant = nearest(name, DECLARATIONS)
            meant = DECLARATIONS[meant].environment_name if meant else ""
        else:
            meant = nearest(name, [*DECLARATIONS, *SECTIONS])
        hint = f"did you mean {meant}?" if meant else "novapulse config show lists all settings"
        self.note(Problem(name, f"{_printable(variable) or name} is not a setting", where, hint))


def read_file(draft: Draft, path: Path, *, must_exist: bool) -> None:
    """Take every value of a TOML file; a missing one is empty unless it was asked for."""
    text = _read_text(draft, path, must_exist=must_exist)
    if text is None:
        return
    try:
        table = tomllib.loads(text)
    except RecursionError:
        draft.note(
            Problem("", "the file is nested too deeply", str(path), "settings need two levels")
        )
        return
    except ValueError as error:
        _note_syntax(draft, str(error), path=path, text=text)
        return
    _take_table(draft, table, path=path, lines=locate_keys(text))
    if draft.is_readable_by_all:
        _warn_of_passwords(draft)


def _warn_of_passwords(draft: Draft) -> None:
    for name, value in draft.values.items():
        if shown(DECLARATIONS[name], value) != value:
            where = draft.origins[name]
            draft.warnings.append(f"{where}: {name} holds a password and everybody may read it")


def _take_table(
    draft: Draft,
    table: Mapping[str, object],
    *,
    path: Path,
    lines: dict[str, int],
    prefix: str = "",
) -> None:
    for part, raw in table.items():
        name = prefix + part
        where = f"{path}:{line_of(lines, name)}"
        if name in DECLARATIONS and "." not in part:
            draft.set(name, where, partial(from_toml, raw=raw))
        elif name not in SECTIONS or "." in part:
            draft.unknown(name, where)
        elif isinstance(raw, dict):
            _take_table(draft, raw, path=path, lines=lines, prefix=name + ".")
        else:
            kind = "a list of tables" if isinstance(raw, list) else "a value"
            detail = f"{name}: expected a table, got {kind}"
            draft.note(Problem(name, detail, where, f"write [{name}] on a line of its own"))


def _read_text(draft: Draft, path: Path, *, must_exist: bool) -> str | None:
    try:
        mode, data = _read_bytes(path)
    except OSError as error:
        if must_exist or not isinstance(error, FileNotFoundError):
            detail = f"the configuration file can not be read: {error.strerror}"
            draft.note(Problem("", detail, str(path), "check the path and its permissions"))
        return None
    if not stat.S_ISREG(mode) or len(data) > _LARGEST_FILE:
        what = "is larger than 1 MiB" if stat.S_ISREG(mode) else "is not a regular file"
        detail = f"the configuration file {what}"
        draft.note(Problem("", detail, str(path), "is this the right path?"))
        return None
    draft.is_readable_by_all = bool(mode & _OTHERS_MAY_READ)
    return _decode(draft, path, data)


def _read_bytes(path: Path) -> tuple[int, bytes]:
    """The file's mode, and its bytes if it is a regular file."""
    # Not blocking, so that a pipe in the file's place can not hang the start.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        return mode, os.read(descriptor, _LARGEST_FILE + 1) if stat.S_ISREG(mode) else b""
    finally:
        os.close(descriptor)


def _decode(draft: Draft, path: Path, data: bytes) -> str | None:
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        detail = "the configuration file is not UTF-8"
        draft.note(Problem("", detail, f"{path}:{line}", "save the file as UTF-8"))
        return None


def _note_syntax(draft: Draft, message: str, *, path: Path, text: str) -> None:
    match = _TOML_ERROR.fullmatch(message)
    line = text.count("\n") + 1
    if match is not None and match["line"]:
        line = int(match["line"])
    what = match["what"] if match else message
    detail = f"the file is not TOML: {what[:1].lower()}{what[1:]}"
    draft.note(
        Problem("", detail, f"{path}:{line}", "text needs quotes, and every key stands once")
    )


def read_aliases(draft: Draft, environ: Mapping[str, str]) -> None:
    """Take the predecessor's variables; an empty one counts as not set."""
    for variable, name in ALIASES.items():
        text = environ.get(variable, "")
        if text:
            draft.set(name, f"environment {variable}", partial(from_text, text=text))


def read_environment(draft: Draft, environ: Mapping[str, str]) -> None:
    """Take `NOVAPULSE__SECTION__KEY`; a variable that names no setting is an error."""
    for variable in sorted(environ):
        if not variable.startswith(_PREFIX):
            continue
        name = variable.removeprefix(_PREFIX).replace("__", ".").lower()
        where = f"environment {variable}"
        if name in DECLARATIONS and variable == DECLARATIONS[name].environment_name:
            draft.set(name, where, partial(from_text, text=environ[variable]))
        else:
            draft.unknown(name, where, variable=variable)


def read_flags(draft: Draft, overrides: Mapping[str, object]) -> None:
    """Take values by full key name; a flag is called after the key's last part."""
    for name, raw in overrides.items():
        where = "flag --" + name.rpartition(".")[2].replace("_", "-")
        if name not in DECLARATIONS:
            draft.unknown(name, where)
        elif isinstance(raw, str):
            draft.set(name, where, partial(from_text, text=raw))
        else:
            draft.set(name, where, partial(from_toml, raw=raw))


def _printable(name: str) -> str:
    """A name from outside, cut and without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in name[:_LONGEST_NAME])
