"""Rolls of one place: single steps, and properties of whole lives in any order of events."""

import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import place as places
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
    RestartAsked,
    RetireAsked,
    Signal,
    Spawn,
    StartAsked,
    State,
    StopAsked,
    Tick,
)
from supervisor.place import Life, Place, Rolled, RollFailed
from supervisor.spec import (
    MessageReadiness,
    Probe,
    ProbeReadiness,
    ProcessSpec,
    Readiness,
    StopPolicy,
)

PROBE = ProbeReadiness(
    probe=Probe(path=Path("store.sock"), request=b"?", verdict=bool), start_timeout_seconds=30
)


def make_spec(readiness: Readiness | None = None, *, version: str = "old") -> ProcessSpec:
    return ProcessSpec(
        name="api-1",
        role="api",
        argv=("api", version),
        env={},
        readiness=readiness or MessageReadiness(start_timeout_seconds=30),
        stop=StopPolicy(deadline_seconds=10, hung_seconds=2),
    )


OLD = make_spec()
NEW = make_spec(version="new")


@dataclass
class World:
    """A place with a fake clock; its children are there or not, by the key of their life."""

    spec: ProcessSpec = OLD
    place: Place = field(init=False)
    now: float = 1000.0
    children: set[int] = field(default_factory=set)
    spawns: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.place = Place(serving=Life(0, self.spec))

    def ask(self, *events: Event) -> list[tuple[int, Action]]:
        return [
            order
            for event in events
            for order in self._take(places.ask(self.place, event, self.now))
        ]

    def hear(self, event: Event, part: str = "serving") -> list[tuple[int, Action]]:
        life = getattr(self.place, part)
        if life is None:
            return []
        return self._take(places.hear(self.place, event, key=life.key, now=self.now))

    def roll(self, spec: ProcessSpec = NEW) -> list[tuple[int, Action]]:
        if not self.place.is_settled:
            return []
        return self._take(places.roll(self.place, spec, self.now))

    def exit(self, code: int = 0, part: str = "serving") -> list[tuple[int, Action]]:
        life = getattr(self.place, part)
        if life is None or life.key not in self.children:
            return []
        self.children.remove(life.key)
        return self.hear(Exited(code, f"exit {code}"), part)

    def wait(self, seconds: float) -> None:
        """Let time pass, with a tick at every moment that a life asks for."""
        end = self.now + seconds
        while due := [life.slot.due for life in self.place.lives if life.slot.due is not None]:
            if min(due) > end:
                break
            self.now = max(self.now, min(due))
            for part in ("serving", "rising", "leaving"):
                self.hear(Tick(), part)
        self.now = end

    def _take(self, turn: places.Turn) -> list[tuple[int, Action]]:
        self.place, orders = turn
        for key, action in orders:
            match action:
                case Spawn():
                    assert key not in self.children, "two incarnations of one life"
                    self.children.add(key)
                    self.spawns.append(self.now)
                case Abandon():
                    self.children.discard(key)
        assert len(self.children) <= 2, "three live incarnations"
        ready = [life for life in self.place.lives if life.slot.state is State.READY]
        assert len(ready) <= 1, "two that serve"
        assert self.place.rising is None or self.place.leaving is None
        live = {life.key for life in self.place.lives if life.slot.is_live}
        assert live == self.children, "a child that nobody looks after"
        return list(orders)

    @property
    def versions(self) -> list[str]:
        return [life.spec.argv[1] for life in self.place.lives]


@pytest.fixture
def ready() -> World:
    world = World()
    world.ask(NeedsMet(), StartAsked())
    world.hear(BecameReady())
    return world


def test_a_roll_raises_a_successor_and_only_then_drains_the_old_one(ready: World):
    assert ready.roll() == [(1, Spawn())]
    assert ready.place.serving.slot.state is State.READY
    assert ready.hear(BecameReady(), "rising") == [(0, Signal(signal.SIGTERM))]
    assert ready.versions == ["new", "old"]
    assert ready.place.verdict == Rolled()
    assert not ready.place.is_settled
    ready.exit(0, "leaving")
    assert ready.place.is_settled
    assert ready.versions == ["new"]


def test_a_successor_that_exits_leaves_the_old_one_serving(ready: World):
    ready.roll()
    assert ready.exit(1, "rising") == []
    assert ready.place.verdict == RollFailed("exit 1")
    assert ready.versions == ["old"]
    ready.wait(600)
    assert len(ready.spawns) == 2 or ready.place.serving.slot.state is not State.READY


def test_a_successor_that_is_not_ready_in_time_is_ended_and_the_old_one_stays(ready: World):
    ready.roll()
    for _ in range(31):
        ready.wait(1)
        ready.hear(Heard())
    assert ready.place.verdict == RollFailed("not ready within 30.0 s")
    assert ready.children == {0, 1}
    ready.wait(1)
    ready.exit(-9, "leaving")
    assert ready.place.is_settled
    assert ready.place.serving.slot.state is State.READY


def test_an_old_one_that_crashes_during_its_roll_comes_back_beside_the_successor(ready: World):
    ready.roll()
    ready.exit(1)
    ready.wait(0.7)
    assert ready.children == {0, 1}
    ready.hear(BecameReady(), "rising")
    assert ready.versions == ["new", "old"]
    ready.exit(0, "leaving")
    assert ready.children == {1}


def test_a_store_is_never_there_twice_but_restarted_in_place():
    world = World(spec=make_spec(PROBE))
    world.ask(NeedsMet(), StartAsked())
    world.hear(BecameReady())
    assert world.roll(make_spec(PROBE, version="new")) == [(0, Signal(signal.SIGTERM))]
    assert world.exit(0) == [(0, Spawn())]
    assert world.place.verdict is None
    world.hear(BecameReady())
    assert world.place.verdict == Rolled()
    assert world.versions == ["new"]


@pytest.mark.parametrize("code", [1, 78])
def test_a_restart_frees_what_waits_for_its_time_or_another_configuration(code: int):
    world = World()
    world.ask(NeedsMet(), StartAsked())
    for _ in range(6 if code == 1 else 1):
        world.exit(code)
        if world.place.serving.slot.state is State.BACKOFF:
            world.wait((world.place.serving.slot.due or 0) - world.now)
    assert world.place.serving.slot.state in (State.QUARANTINED, State.CONFIG_ERROR)
    assert world.roll() == [(0, Spawn())]
    world.hear(BecameReady())
    assert world.place.verdict == Rolled()
    world.exit(1)
    assert world.place.serving.slot.state is State.BACKOFF


def test_a_restart_in_place_that_fails_says_so(ready: World):
    ready.exit(1)
    ready.roll()
    ready.exit(3)
    assert ready.place.verdict == RollFailed("exit 3")
    assert ready.place.is_settled


def test_nothing_is_rolled_while_its_needs_are_away(ready: World):
    ready.ask(NeedsLost())
    assert ready.roll() == []
    assert ready.place.verdict == RollFailed("what it needs is away")
    assert ready.versions == ["old"]


def test_a_stop_gives_up_a_roll_and_ends_both(ready: World):
    ready.roll()
    orders = ready.ask(StopAsked())
    assert sorted(orders) == [(0, Signal(signal.SIGTERM)), (1, Signal(signal.SIGTERM))]
    assert ready.place.verdict == RollFailed("stop asked")
    assert ready.ask(HurryAsked()) == [(1, Kill()), (0, Kill())]


def test_a_child_that_died_before_the_order_to_drain_is_not_waited_for(ready: World):
    ready.roll()
    ready.exit(1)
    ready.hear(BecameReady(), "rising")
    assert ready.place.is_settled
    assert ready.children == {1}


seconds = st.sampled_from([0.0, 0.01, 0.5, 1.0, 3.0, 5.5, 30.0, 61.0])
parts = st.sampled_from(["serving", "rising", "leaving"])
asks = [NeedsMet(), NeedsLost(), Paused(3.0), StartAsked(), RestartAsked()]
ends = [RetireAsked(), StopAsked(), HurryAsked()]
steps = st.one_of(
    st.tuples(st.just("wait"), seconds),
    st.tuples(st.just("ask"), st.sampled_from([*asks, *ends])),
    st.tuples(st.just("hear"), st.sampled_from([BecameReady(), Heard(), Tick()]), parts),
    st.tuples(st.just("exit"), st.sampled_from([0, 1, 69, 78, -9]), parts),
    st.tuples(st.just("roll"), st.sampled_from([OLD, NEW, make_spec(PROBE)])),
)


def play(world: World, script: list[tuple[str, *tuple[object, ...]]]) -> None:
    for name, *arguments in script:
        getattr(world, name)(*arguments)


@given(st.lists(steps, max_size=80))
def test_in_any_order_of_events_one_serves_at_most_and_two_live_at_most(script):
    world = World()
    play(world, [("ask", NeedsMet()), ("ask", StartAsked()), *script])  # `_take` asserts it


@given(st.lists(steps, max_size=80))
def test_whatever_happened_a_stop_ends_both_even_if_they_do_nothing(script):
    world = World()
    play(world, [("ask", NeedsMet()), ("ask", StartAsked()), *script])
    world.ask(StopAsked())
    world.wait(10 + 5)
    assert not world.place.is_live
    assert world.place.is_settled
    spawns = len(world.spawns)
    world.ask(NeedsLost(), NeedsMet(), RestartAsked())
    world.wait(200)
    assert len(world.spawns) == spawns


@given(st.lists(steps, max_size=80))
def test_every_roll_comes_to_an_end(script):
    world = World()
    play(world, [("ask", NeedsMet()), ("ask", StartAsked()), *script])
    world.roll()
    for _ in range(60):
        world.wait(1)
        if world.place.serving.slot.state is State.READY:
            world.hear(Heard())
        for part in ("serving", "leaving"):
            life = getattr(world.place, part)
            if life is not None and life.slot.state is State.STOPPING:
                world.exit(-9, part)
    assert world.place.is_settled
    assert world.place.verdict is not None


@given(st.lists(st.tuples(seconds, st.booleans(), st.booleans()), max_size=60))
def test_a_dependency_that_flaps_never_quarantines_its_users_also_when_they_are_rolled(flaps):
    world = World()
    world.ask(NeedsMet(), StartAsked())
    for up, is_rolled, dies in flaps:
        if is_rolled:
            world.roll()
        world.hear(BecameReady(), "rising")
        world.hear(BecameReady())
        world.wait(min(up, 4))
        world.exit(0, "leaving")
        world.ask(NeedsLost())
        if dies:
            world.exit(69)
            world.exit(69, "rising")
        world.wait(0.5)
        world.ask(NeedsMet())
        states = {life.slot.state for life in world.place.lives}
        assert State.QUARANTINED not in states
