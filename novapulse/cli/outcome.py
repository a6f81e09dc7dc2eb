"""How a verb ends: its exit code, and its errors for people or for scripts.

Part of every start, also for `--help`: what only an error needs is imported by it.
"""

import errno
import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import click

from novapulse.cli.talk import manner
from novapulse.core.errors import Error
from novapulse.core.exitcodes import BUG, UNAVAILABLE, exit_code_of

INTERRUPTED = 130
_ABORTED, _USAGE = 1, 2
# The status that a problem of this exit code has; 422 for what is wrong in a value or a file.
_STATUS = {1: 409, 2: 400, 65: 422, 66: 404, 69: 503, 70: 500, 75: 503, 77: 403, 78: 422}


def explain(error: Error) -> str:
    """Three lines for each thing that is wrong: what, where it comes from, what to try."""
    problems = _problems(error)
    if not problems:
        facts = {name: getattr(error, name, "") for name in ("where", "hint")}
        problems = [{"detail": error.detail, **facts}]
    return "\n".join(map(_three_lines, problems))


def problem(error: Error) -> dict[str, Any]:
    """The same as a problem document (RFC 9457)."""
    document = _document(code_of(error), error.title, code=error.code, detail=error.detail)
    for name in ("where", "hint"):
        if text := getattr(error, name, ""):
            document[name] = text
    if problems := _problems(error):
        document["problems"] = problems
    return document | dict(getattr(error, "facts", {}))


def code_of(error: Error) -> int:
    """The exit code that the error names itself, or that of its class."""
    named = getattr(error, "exit_code", None)
    return named if isinstance(named, int) else exit_code_of(error)


def leave(error: BaseException, *, as_json: bool) -> NoReturn:
    """End the program with what `error` means."""
    match error:
        case Error():
            _tell(explain(error), problem(error), as_json=as_json)
            sys.exit(code_of(error))
        case click.Abort():
            is_interrupted = isinstance(error.__cause__, KeyboardInterrupt)
            sys.exit(INTERRUPTED if is_interrupted else _ABORTED)
        case click.ClickException():
            if not as_json:
                error.show()
            else:
                text = error.format_message()
                _print(_document(_USAGE, "The command line is wrong", code="usage", detail=text))
            sys.exit(error.exit_code)
        case OSError() if error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            _tell(f"error: can not write: {error.strerror}", {}, as_json=False)
            _forget_stdout()
            sys.exit(UNAVAILABLE)
    _leave_with_bug(error, as_json=as_json)


def flush_result() -> None:
    """Have a full disk noticed while there is somebody to say so."""
    if sys.stdout is not None:
        sys.stdout.flush()


def ensure_standard_streams() -> None:
    """A descriptor that is closed would become the next file that is opened."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _leave_with_bug(error: BaseException, *, as_json: bool) -> NoReturn:
    import traceback
    from pathlib import Path

    if manner.is_verbose:
        traceback.print_exception(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
    what = f"{type(error).__name__}: {error}"
    hint = "the same with -v shows more; novapulse support bundle collects what a report needs"
    text = _three_lines({"detail": f"a bug: {what}", "where": place, "hint": hint})
    document = _document(BUG, "This is a bug", code="internal_error", detail=what)
    _tell(text, document | {"where": place, "hint": hint}, as_json=as_json)
    sys.exit(BUG)


def _document(exit_code: int, title: str, *, code: str, detail: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "type": "about:blank",
        "title": title,
        "status": _STATUS.get(exit_code, 500),
        "code": code,
        "detail": detail,
        "exitCode": exit_code,
    }


def _problems(error: Error) -> list[dict[str, str]]:
    found = getattr(error, "problems", ())
    names = ("key", "detail", "where", "hint")
    return [
        dict(one) if isinstance(one, Mapping) else {name: getattr(one, name) for name in names}
        for one in found
    ]


def _three_lines(facts: Mapping[str, str]) -> str:
    lines = [f"error: {facts['detail']}"]
    if where := facts.get("where"):
        lines.append(f"  from: {where}")
    if hint := facts.get("hint"):
        lines.append(f"  try: {hint}")
    return "\n".join(lines)


def _tell(text: str, document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print(document)
    else:
        click.echo(text, err=True)


def _print(document: Mapping[str, Any]) -> None:
    import json

    click.echo(json.dumps(document, ensure_ascii=False))


def _forget_stdout() -> None:
    """The interpreter would try once more at its end, and complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
