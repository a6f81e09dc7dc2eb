"""The program's first step: loading the rest of it."""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from novapulse import __version__
from novapulse.cli import verbs


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and exit; Ctrl-C before there is one ends the program without a word."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["version"]:
        _tell_version()
    if words[:2] == ["process", "fork_server"]:
        _be_fork_server(words[2:])
    if words[:1] == ["run"] and "--help" not in words:
        from novapulse.processes import starting

        starting.begin(words)
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if words == ["--help"] and verbs.show_help():
        sys.exit(0)
    gc.disable()  # what is loaded stays, and searching it takes a tenth of the time
    from novapulse.cli import outcome, program

    gc.enable()
    signal.signal(signal.SIGINT, before)
    outcome.ensure_standard_streams()
    program.main(arguments)


def _be_fork_server(roles: list[str]) -> NoReturn:
    """All children wait for it, so it loads nothing that they do not need, as click."""
    from supervisor.headstart import follow_parent

    follow_parent()
    gc.disable()  # as above; it is turned on again in those that are forked
    from novapulse.processes import fork_server

    fork_server.main(*roles)
    sys.exit(0)


def _tell_version() -> None:
    """Scripts ask for it often, so nothing is loaded; what goes wrong is left to the verb."""
    try:
        os.write(1, f"{__version__}\n".encode())
    except OSError:
        return
    sys.exit(0)
