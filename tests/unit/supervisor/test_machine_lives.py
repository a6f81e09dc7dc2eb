"""Properties of whole lives: the machine against a world that does whatever it likes."""

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from supervisor.machine import (
    Abandon,
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
    RetireAsked,
    Slot,
    Spawn,
    StartAsked,
    State,
    StopAsked,
    Tick,
    advance,
)
from supervisor.spec import MessageReadiness, ProcessSpec, RestartPolicy, StopPolicy

SPEC = ProcessSpec(
    name="api-1",
    role="api",
    argv=("api",),
    env={},
    readiness=MessageReadiness(start_timeout_seconds=30),
    stop=StopPolicy(deadline_seconds=10, hung_seconds=2),
    restart=RestartPolicy(),
)


@dataclass
class World:
    """A slot with a fake clock and a child that is there or not."""

    slot: Slot = field(default_factory=Slot)
    now: float = 0.0
    has_child: bool = False
    spawned_at: list[float] = field(default_factory=list)

    def feed(self, event: Event) -> None:
        self.slot, actions = advance(SPEC, self.slot, event=event, now=self.now)
        for action in actions:
            match action:
                case Spawn():
                    assert not self.has_child, "two incarnations in one slot"
                    self.has_child = True
                    self.spawned_at.append(self.now)
                case Abandon():
                    self.has_child = False
                case _:
                    assert self.has_child, "a signal to nobody"
        assert self.has_child == self.slot.is_live
        assert self.slot.due is None or self.slot.due > self.now or isinstance(event, Paused)

    def exit(self, code: int, chance: float = 0.0) -> None:
        if self.has_child:
            self.has_child = False
            self.feed(Exited(code, f"exit {code}", chance))

    def wait(self, seconds: float) -> None:
        """Let time pass, with a tick at every moment that the slot asks for."""
        end = self.now + seconds
        while self.slot.due is not None and self.slot.due <= end:
            self.now = max(self.now, self.slot.due)
            self.feed(Tick())
        self.now = end

    def most_spawns_in_a_minute(self) -> int:
        times = self.spawned_at
        return max((sum(at <= t < at + 60 for t in times) for at in times), default=0)


seconds = st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0, 3.0, 5.0, 5.5, 6.0, 30.0, 61.0, 300.0])
chances = st.floats(0, 1)
signs = st.sampled_from(
    [NeedsMet(), NeedsLost(), BecameReady(), Heard(), Refused("x"), Tick(), Paused(3.0)]
)
asks = st.sampled_from([StartAsked(), RetireAsked(), StopAsked(), HurryAsked()])
steps = st.one_of(
    st.tuples(st.just("wait"), seconds),
    st.tuples(st.just("feed"), signs),
    st.tuples(st.just("feed"), asks),
    st.tuples(st.just("exit"), st.sampled_from([0, 1, 69, 78, -9])),
)


def play(world: World, script: list[tuple[str, object]]) -> None:
    for kind, value in script:
        getattr(world, kind)(value)


@given(st.lists(steps, max_size=60))
def test_whatever_happened_a_stop_ends_even_if_the_child_does_nothing(script):
    world = World()
    play(world, [("feed", NeedsMet()), ("feed", StartAsked()), *script])
    world.feed(StopAsked())
    world.wait(10 + 5)
    assert world.slot.state in (State.STOPPED, State.DONE)
    spawns = len(world.spawned_at)
    for event in (NeedsLost(), NeedsMet(), Tick(), BecameReady(), Heard()):
        world.feed(event)
        world.wait(200)
    assert len(world.spawned_at) == spawns


@given(st.lists(steps, max_size=60))
def test_whatever_happened_a_wanted_process_gets_another_chance_within_a_minute(script):
    world = World()
    play(world, script)
    if world.slot.state in (State.CONFIG_ERROR, State.DONE):
        return
    world.feed(NeedsMet())
    world.feed(StartAsked())
    if world.slot.state not in (State.STARTING, State.READY):
        world.exit(1)  # what is being stopped or replaced has to end first
    asked = world.now
    while not world.has_child:
        assert world.slot.due is not None
        world.wait(world.slot.due - world.now)
    assert world.now - asked <= 60


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.001, 0.2, 1.0]),
            st.booleans(),
            st.sampled_from([0.0, 1.0, 4.9, 5.0, 5.1, 20.0]),
            chances,
        ),
        max_size=60,
    )
)
def test_no_crash_loop_spawns_more_than_ten_times_a_minute(incarnations):
    world = World()
    world.feed(NeedsMet())
    world.feed(StartAsked())
    for start_seconds, gets_ready, served, chance in incarnations:
        while not world.has_child:
            world.wait(max(0.0, (world.slot.due or world.now) - world.now))
        world.wait(start_seconds)
        if gets_ready:
            world.feed(BecameReady())
            for _ in range(int(served)):
                world.wait(1)
                world.feed(Heard())
            world.wait(served % 1)
        world.exit(1, chance)
    assert world.most_spawns_in_a_minute() <= 10


flaps = st.tuples(seconds, seconds, st.sampled_from(["before", "with it", "after"]), seconds)


@given(st.lists(flaps, max_size=60))
def test_a_dependency_that_flaps_never_quarantines_its_users(flaps):
    """Whether they end at once, when it is back already, or before anybody saw it go."""
    world = World()
    world.feed(NeedsMet())
    world.feed(StartAsked())
    for up, down, users_end, unseen in flaps:
        world.wait(up if world.slot.state is not State.STARTING else min(up, 20))
        world.feed(BecameReady())
        world.feed(Heard())
        was_there = world.has_child
        if was_there and users_end == "before":
            world.exit(69)
            world.wait(min(unseen, 20))
        world.feed(NeedsLost())
        if was_there and users_end == "with it":
            world.exit(69)
        world.wait(min(down, 4))
        world.feed(NeedsMet())
        if was_there and users_end == "after":
            world.exit(69)
        assert world.slot.state is not State.QUARANTINED
        assert world.most_spawns_in_a_minute() <= 10


def test_a_program_that_always_crashes_ends_with_one_try_a_minute():
    world = World()
    world.feed(NeedsMet())
    world.feed(StartAsked())
    while world.now < 3600:
        world.exit(1)
        due = world.slot.due
        assert due is not None
        world.wait(due - world.now)
    assert world.most_spawns_in_a_minute() <= 10
    late = [at for at in world.spawned_at if at > 300]
    assert all(after - before >= 60 for before, after in pairwise(late))
    assert len(late) >= 50


def test_a_quarantined_process_is_free_again_once_it_served():
    world = World()
    world.feed(NeedsMet())
    world.feed(StartAsked())
    while world.slot.state is not State.QUARANTINED:
        world.exit(1)
        if world.slot.state is State.BACKOFF:
            world.wait((world.slot.due or 0) - world.now)
    world.wait(60)
    world.feed(BecameReady())
    for _ in range(6):
        world.wait(1)
        world.feed(Heard())
    world.exit(1)
    assert world.slot.state is State.BACKOFF
    assert (world.slot.due or 0) - world.now == 0.5


def test_a_kill_is_sent_before_anything_is_abandoned():
    world = World()
    world.feed(NeedsMet())
    world.feed(StartAsked())
    world.feed(StopAsked())
    world.now = 10.0
    _slot, actions = advance(SPEC, world.slot, event=Tick(), now=world.now)
    assert actions == (Kill(),)
