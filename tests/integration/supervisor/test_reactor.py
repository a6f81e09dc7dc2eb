"""How often the loop wakes up: what may wait a moment is served with what comes meanwhile."""

import os
import time

import pytest

from supervisor.beats import next_moment
from supervisor.reactor import READ, Reactor


def _watched(reactor: Reactor, seen: list[str], name: str, *, is_patient: bool) -> int:
    reader, writer = os.pipe()

    def heard(_events: int) -> None:
        os.read(reader, 100)
        seen.append(name)

    reactor.watch(reader, READ, heard)
    if is_patient:
        reactor.let_wait(reader)
    return writer


def _never(seconds: float) -> None:
    pytest.fail(f"stalled for {seconds} s")


def test_what_may_wait_is_served_with_what_comes_meanwhile():
    reactor, seen = Reactor(), list[str]()
    first = _watched(reactor, seen, "first", is_patient=True)
    second = _watched(reactor, seen, "second", is_patient=True)
    reactor.call_later(0.005, lambda: None)
    pid = os.fork()
    if pid == 0:
        time.sleep(0.02)
        os.write(first, b".")
        time.sleep(0.003)
        os.write(second, b".")
        os._exit(0)
    reactor.run_once(on_stall=_never)  # the timer
    reactor.run_once(on_stall=_never)
    os.waitpid(pid, 0)
    assert sorted(seen) == ["first", "second"]
    reactor.close()


def test_what_may_not_wait_is_served_at_once():
    reactor, seen = Reactor(), list[str]()
    os.write(_watched(reactor, seen, "patient", is_patient=True), b".")
    os.write(_watched(reactor, seen, "urgent", is_patient=False), b".")
    began = time.monotonic()
    reactor.run_once(on_stall=_never)
    assert time.monotonic() - began < 0.009
    assert sorted(seen) == ["patient", "urgent"]
    reactor.close()


@pytest.mark.parametrize(("now", "moment"), [(5.0, 6.0), (5.3, 6.0), (5.999, 6.0)])
def test_beats_fall_on_the_same_moments_everywhere(now: float, moment: float):
    assert next_moment(now, 1.0) == moment
