"""How far a long verb is: a line that grows on a terminal, a line every ten seconds elsewhere."""

import sys
import time
from types import TracebackType

import click

from novapulse.cli.talk import manner

_FIRST_SECONDS = 1.0
_TERMINAL_SECONDS = 0.2
_ELSEWHERE_SECONDS = 10.0


class Counter:
    """Called with the documents and bytes so far; says nothing about what is quick."""

    def __init__(self, deed: str) -> None:
        self._deed = deed
        self._is_terminal = sys.stderr.isatty()
        self._every = _TERMINAL_SECONDS if self._is_terminal else _ELSEWHERE_SECONDS
        self._next = time.monotonic() + (_FIRST_SECONDS if self._is_terminal else self._every)
        self._is_shown = False

    def __call__(self, documents: int, size: int) -> None:
        if manner.is_quiet or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        text = f"{documents} documents, {size / 2**20:.0f} MiB {self._deed}"
        click.echo(f"\r{text}" if self._is_terminal else text, err=True, nl=not self._is_terminal)
        self._is_shown = self._is_terminal

    def __enter__(self) -> "Counter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_shown:
            click.echo(err=True)
