"""How our own processes are started; imports next to nothing, for it comes before the rest."""

import atexit
import os
import resource
import sys
from collections.abc import Sequence

from supervisor.headstart import HeadStart

# By what words the program was told to run, for who looks at a process from outside.
RUN_WORDS = "NOVAPULSE_RUN"
# What a Python child may know of the environment that started the program.
_PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "NO_COLOR"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "CREDENTIALS_DIRECTORY"),
)
FORK_SERVER = "fork-server"
# The roles whose modules the fork server loads, and is forked into; the first is needed first.
FORKED = ("migrate", "scheduler", "caretaker", "consumer", "api")

# With the user whom we were then.
_begun: tuple[HeadStart, int] | None = None


def begin(words: Sequence[str]) -> None:
    """Start the fork server before anything else is loaded: everybody will wait for it."""
    global _begun  # noqa: PLW0603 - what the program's very first lines leave for the verb
    raise_open_files()
    env = {**passed_on(), RUN_WORDS: " ".join(words)}
    try:
        head_start = HeadStart(FORK_SERVER, argv=fork_server_program(), env=env)
    except OSError:
        return  # then it is started as the others are
    _begun = head_start, os.geteuid()
    atexit.register(head_start.let_go)  # when something is wrong, there will be no supervisor


def take_begun() -> HeadStart | None:
    """What `begin` started, if it is to be used; from then on it is the caller's."""
    global _begun
    begun, _begun = _begun, None
    if begun is None:
        return None
    head_start, user = begun
    if user != os.geteuid():  # root became the user whose files these are
        head_start.let_go()
        return None
    return head_start


def raise_open_files() -> None:
    """Up to what the system allows: children inherit it, and mongod aborts when it runs out.

    A login shell's usual 1,024 is for programs that use select(2); none of ours does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def own_program(*arguments: str) -> tuple[str, ...]:
    """The start line of another of our own verbs; a built program is its own interpreter."""
    interpreter = () if getattr(sys, "frozen", False) else ("-m", "novapulse")
    return (sys.executable, *interpreter, *arguments)


def fork_server_program() -> tuple[str, ...]:
    return own_program("process", "fork_server", *FORKED)


def passed_on() -> dict[str, str]:
    """Of our environment, what a child gets."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
