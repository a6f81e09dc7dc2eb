"""Single steps of the machine; whole lives of it are in test_machine_lives."""

import signal
from pathlib import Path

import pytest

from supervisor.machine import (
    Abandon,
    Action,
    BecameReady,
    Event,
    Exited,
    Heard,
    HurryAsked,
    Kill,
    NeedsLost,
    NeedsMet,
    Paused,
    Refused,
    RestartAsked,
    RetireAsked,
    Signal,
    Slot,
    Spawn,
    StartAsked,
    State,
    StopAsked,
    Tick,
    advance,
)
from supervisor.spec import (
    ExitReadiness,
    MessageReadiness,
    Probe,
    ProbeReadiness,
    ProcessSpec,
    Readiness,
    StopPolicy,
)

PROBE = Probe(path=Path("store.sock"), request=b"?", verdict=bool)


def make_spec(readiness: Readiness | None = None) -> ProcessSpec:
    return ProcessSpec(
        name="api-1",
        role="api",
        argv=("api",),
        env={},
        readiness=readiness or MessageReadiness(start_timeout_seconds=30),
        stop=StopPolicy(deadline_seconds=10),
    )


class Life:
    """One slot, driven by hand."""

    def __init__(self, readiness: Readiness | None = None) -> None:
        self.spec = make_spec(readiness)
        self.slot = Slot()
        self.now = 1000.0

    def feed(self, *events: Event, at: float | None = None) -> tuple[Action, ...]:
        self.now = self.now if at is None else 1000.0 + at
        done: tuple[Action, ...] = ()
        for event in events:
            self.slot, actions = advance(self.spec, self.slot, event=event, now=self.now)
            done += actions
        return done

    @property
    def state(self) -> State:
        return self.slot.state


@pytest.fixture
def ready() -> Life:
    life = Life()
    assert life.feed(NeedsMet(), StartAsked(), BecameReady()) == (Spawn(),)
    assert life.state is State.READY
    return life


def test_a_process_is_blocked_until_its_needs_are_met():
    life = Life()
    assert life.feed(StartAsked()) == ()
    assert life.state is State.BLOCKED
    assert life.feed(NeedsMet()) == (Spawn(),)
    assert life.state is State.STARTING


def test_a_beat_before_the_readiness_is_no_readiness():
    life = Life()
    life.feed(NeedsMet(), StartAsked(), Heard())
    assert life.state is State.STARTING


def test_a_child_that_is_not_ready_in_time_is_replaced():
    life = Life()
    life.feed(NeedsMet(), StartAsked())
    assert life.feed(Tick(), at=29.9) == ()
    assert life.feed(Tick(), at=30) == (Signal(signal.SIGTERM),)
    assert life.state is State.UNHEALTHY
    assert life.feed(Tick(), at=32) == (Kill(),)
    life.feed(Exited(-9, "killed by SIGKILL"))
    assert life.state is State.BACKOFF
    assert life.slot.reason == "not ready within 30.0 s, killed by SIGKILL"


def test_only_an_end_that_nobody_asked_for_is_a_fall(ready: Life):
    assert ready.feed(RestartAsked(), Exited(0, "exit 0"))[-1] == Spawn()
    assert not ready.slot.fell
    ready.feed(BecameReady(), StopAsked(), Exited(0, "exit 0"), StartAsked())
    assert (ready.state, ready.slot.fell) == (State.STARTING, False)
    ready.feed(BecameReady(), Exited(0, "exit 0"))
    assert (ready.state, ready.slot.fell) == (State.BACKOFF, True)
    assert ready.feed(Tick(), at=60) == (Spawn(),)
    assert ready.slot.fell
    ready.feed(BecameReady(), RestartAsked(), Exited(0, "exit 0"))
    assert not ready.slot.fell


def test_five_missed_beats_make_a_child_unhealthy(ready: Life):
    ready.feed(Heard(), at=3)
    assert ready.feed(Tick(), at=7.9) == ()
    assert ready.feed(Tick(), at=8) == (Signal(signal.SIGTERM),)
    assert ready.state is State.UNHEALTHY


def test_silence_while_the_supervisor_itself_did_not_run_proves_nothing(ready: Life):
    ready.feed(Heard(), at=3)
    assert ready.feed(Paused(57), Tick(), at=65) == ()
    assert ready.feed(Tick(), at=69.9) == ()
    assert ready.state is State.READY
    assert ready.feed(Tick(), at=70) == (Signal(signal.SIGTERM),)


def test_a_silent_store_is_replaced_after_its_own_time():
    life = Life(ProbeReadiness(probe=PROBE, start_timeout_seconds=30, replace_after_seconds=20))
    life.feed(NeedsMet(), StartAsked(), BecameReady())
    life.feed(BecameReady(), at=2)
    assert life.feed(Tick(), at=21.9) == ()
    assert life.feed(Tick(), at=22) == (Signal(signal.SIGTERM),)


def test_a_socket_that_somebody_else_serves_fails_the_start_at_once():
    life = Life(ProbeReadiness(probe=PROBE, start_timeout_seconds=30))
    life.feed(NeedsMet(), StartAsked())
    assert life.feed(Refused("served by pid 7")) == (Signal(signal.SIGTERM),)
    life.feed(Exited(0, "exit 0"))
    assert life.slot.reason == "served by pid 7, exit 0"


def test_a_one_shot_that_exits_with_zero_is_done_and_stays_so():
    life = Life(ExitReadiness())
    life.feed(NeedsMet(), StartAsked(), Exited(0, "exit 0"))
    assert life.state is State.DONE
    life.feed(NeedsLost(), NeedsMet(), StartAsked(), Tick(), RetireAsked(), at=100)
    assert life.state is State.DONE


def test_a_one_shot_that_fails_is_tried_again():
    life = Life(ExitReadiness())
    life.feed(NeedsMet(), StartAsked(), Exited(1, "exit 1"))
    assert life.state is State.BACKOFF
    assert life.feed(Tick(), at=0.5) == (Spawn(),)


def test_exit_78_waits_for_another_configuration(ready: Life):
    ready.feed(Exited(78, "exit 78"), at=100)
    assert ready.state is State.CONFIG_ERROR
    assert ready.feed(Tick(), NeedsLost(), NeedsMet(), at=10_000) == ()
    assert ready.state is State.CONFIG_ERROR


def test_a_process_that_served_five_seconds_comes_back_at_once_every_time(ready: Life):
    at = 0.0
    for _ in range(30):
        ready.feed(Heard(), at=at + 6)
        ready.feed(Exited(1, "exit 1"))
        assert ready.feed(Tick(), at=at + 6.5) == (Spawn(),)
        at += 6.5
        ready.feed(BecameReady())


def test_a_child_that_hangs_right_after_its_readiness_has_proved_nothing(ready: Life):
    ready.feed(Tick(), at=5)
    ready.feed(Tick(), Exited(-9, "killed by SIGKILL"), at=7)
    assert len(ready.slot.exits) == 1


def test_a_ready_child_keeps_running_while_a_need_is_away(ready: Life):
    assert ready.feed(NeedsLost()) == ()
    assert ready.state is State.READY


def test_an_exit_while_a_need_is_away_blocks_and_does_not_count(ready: Life):
    ready.feed(NeedsLost(), Exited(69, "exit 69"), at=1)
    assert ready.state is State.BLOCKED
    assert ready.slot.exits == ()
    assert ready.feed(NeedsMet(), at=2) == (Spawn(),)


def test_an_exit_shortly_after_a_need_came_back_does_not_count_either(ready: Life):
    ready.feed(NeedsLost(), NeedsMet(), Exited(69, "exit 69"), at=1)
    assert ready.state is State.BACKOFF
    assert ready.slot.exits == ()


def test_a_stop_drains_then_kills_at_the_deadline(ready: Life):
    assert ready.feed(StopAsked()) == (Signal(signal.SIGTERM),)
    assert ready.state is State.DRAINING
    assert ready.feed(StopAsked(), Tick(), at=9.9) == ()
    assert ready.feed(Tick(), at=10) == (Kill(),)
    assert ready.state is State.STOPPING
    ready.feed(Exited(-9, "killed by SIGKILL"))
    assert ready.state is State.STOPPED
    assert ready.slot.reason == "stop asked, killed by SIGKILL"


def test_a_retired_process_runs_on_but_does_not_come_back(ready: Life):
    assert ready.feed(RetireAsked()) == ()
    assert ready.state is State.READY
    ready.feed(Exited(1, "exit 1"))
    assert ready.state is State.STOPPED


def test_hurrying_kills_at_once_and_once(ready: Life):
    assert ready.feed(StopAsked(), HurryAsked(), HurryAsked()) == (Signal(signal.SIGTERM), Kill())


def test_a_stop_does_not_wait_for_a_process_that_even_a_kill_leaves_there(ready: Life):
    ready.feed(HurryAsked())
    assert ready.feed(Tick(), at=5) == (Abandon(),)
    assert ready.state is State.STOPPED


def test_a_hung_process_is_never_given_up_while_it_is_wanted(ready: Life):
    ready.feed(Tick(), at=5)
    assert ready.feed(Tick(), at=7) == (Kill(),)
    for at in range(12, 100, 5):
        assert ready.feed(Tick(), at=at) == (Kill(),)
    assert ready.state is State.STOPPING


@pytest.mark.parametrize("waiting", [State.BACKOFF, State.QUARANTINED, State.CONFIG_ERROR])
def test_a_stop_ends_every_kind_of_waiting(ready: Life, waiting: State):
    code = 78 if waiting is State.CONFIG_ERROR else 1
    for _ in range(6 if waiting is State.QUARANTINED else 1):
        ready.feed(Exited(code, f"exit {code}"))
        if ready.state is not waiting:
            ready.feed(Tick(), at=(ready.slot.due or 0) - 1000)
    assert ready.state is waiting
    ready.feed(RetireAsked())
    assert ready.state is State.STOPPED
    assert ready.feed(Tick(), NeedsMet(), at=10_000) == ()
