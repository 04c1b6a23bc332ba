"""How much of its window a sender uses: its own in any case, and what it shares while the receiver is swift."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from kernelwire.link import throttle as module
from kernelwire.link.records import Lane
from kernelwire.link.resume import WINDOW
from kernelwire.link.throttle import OWN, SHARED, SWIFT, Pool, Throttle


def swift(pool: Pool | None = None) -> Throttle:
    """One whose receiver is."""
    throttle = Throttle(pool)
    throttle.accepted(0, 0.0)
    throttle.accepted(OWN, OWN / SWIFT)
    return throttle


def test_what_a_sender_may_use_is_within_the_window() -> None:
    assert OWN <= WINDOW[Lane.D] <= OWN + SHARED


def test_a_sender_begins_with_its_own() -> None:
    throttle = Throttle()
    assert throttle.most == OWN
    throttle.accepted(10 * OWN, 0.0)  # of which nobody knows how long it took
    assert throttle.most == OWN


@pytest.mark.parametrize(
    ("size", "seconds", "most"),
    [
        (OWN, OWN / SWIFT, OWN + SHARED),
        (OWN, 0.0, OWN + SHARED),
        (OWN, 1.01 * OWN / SWIFT, OWN),
        (OWN - 1, 0.0, OWN),
        (2 * OWN, 2 * OWN / SWIFT, OWN + SHARED),
        (2 * OWN, 2.01 * OWN / SWIFT, OWN),
    ],
)
def test_who_takes_as_much_as_that_in_so_short_a_time_is_swift(size: int, seconds: float, most: int) -> None:
    throttle = Throttle()
    throttle.accepted(100, 5.0)
    throttle.accepted(100 + size, 5.0 + seconds)
    assert throttle.most == most


def test_small_news_add_up() -> None:
    throttle = Throttle()
    for step in range(9):
        assert throttle.most == OWN
        throttle.accepted(step * OWN // 8, step * OWN / 8 / SWIFT)
    assert throttle.most == OWN + SHARED


def test_who_becomes_slow_gets_no_more_and_keeps_what_is_on_the_way() -> None:
    pool = Pool()
    throttle = swift(pool)
    throttle.on_the_way(3 * OWN)
    assert pool.left == SHARED - 2 * OWN
    assert throttle.most == OWN + SHARED
    throttle.accepted(2 * OWN, 100.0)
    assert throttle.most == OWN
    assert pool.left == SHARED - 2 * OWN
    throttle.on_the_way(OWN // 2)
    assert pool.left == SHARED


def test_what_one_has_taken_the_others_have_not() -> None:
    pool = Pool()
    one, other = swift(pool), swift(pool)
    one.on_the_way(OWN + SHARED)
    assert (one.most, other.most) == (OWN + SHARED, OWN)
    one.begin()
    assert (one.most, other.most) == (OWN, OWN + SHARED)


def test_who_is_given_no_pool_shares_with_nobody() -> None:
    one, other = swift(), swift()
    one.on_the_way(one.most)
    assert other.most == OWN + SHARED


def test_a_new_connection_is_not_swift_because_the_last_one_was() -> None:
    throttle = swift()
    throttle.begin()
    assert throttle.most == OWN
    throttle.accepted(2 * OWN, 0.0)
    assert throttle.most == OWN


# Several senders, each of which keeps to what it may.

SMALL_OWN = 20
SMALL_SHARED = 50
LARGEST = 8
SENDERS = st.integers(0, 2)


class Senders(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool()
        self.throttles = [Throttle(self.pool) for _ in range(3)]
        self.there = [0, 0, 0]  # bytes on the way
        self.accepted = [0, 0, 0]
        self.heard: list[tuple[int, float] | None] = [None, None, None]  # when enough was accepted
        self.fast = [False, False, False]
        self.now = 0.0

    @rule(sender=SENDERS, size=st.integers(1, LARGEST))
    def send(self, sender: int, size: int) -> None:
        size = min(size, self.throttles[sender].most - self.there[sender])
        if size > 0:
            self.there[sender] += size
            self.throttles[sender].on_the_way(self.there[sender])
            assert self.fast[sender] or self.there[sender] <= SMALL_OWN

    @rule(sender=SENDERS, part=st.floats(0, 1), seconds=st.sampled_from([0.0, 0.5, 2.0]))
    def accept(self, sender: int, part: float, seconds: float) -> None:
        size = round(part * self.there[sender])
        self.now += seconds
        self.there[sender] -= size
        self.accepted[sender] += size
        self.throttles[sender].on_the_way(self.there[sender])
        self.throttles[sender].accepted(self.accepted[sender], self.now)
        if (before := self.heard[sender]) is None:
            self.heard[sender] = self.accepted[sender], self.now
        elif (more := self.accepted[sender] - before[0]) >= SMALL_OWN:
            self.fast[sender] = more >= SMALL_OWN * (self.now - before[1])
            self.heard[sender] = self.accepted[sender], self.now

    @rule(sender=SENDERS)
    def begin(self, sender: int) -> None:
        """A connection is over, or replaced by another."""
        self.there[sender] = self.accepted[sender] = 0
        self.heard[sender], self.fast[sender] = None, False
        self.throttles[sender].begin()

    @precondition(lambda self: any(self.there))
    @rule()
    def all_end(self) -> None:
        for sender in range(3):
            self.begin(sender)
        assert self.pool.left == SMALL_SHARED

    @invariant()
    def what_is_beyond_their_own_is_taken_from_the_pool(self) -> None:
        beyond = sum(max(0, size - SMALL_OWN) for size in self.there)
        assert self.pool.left == SMALL_SHARED - beyond
        assert self.pool.left >= 0

    @invariant()
    def each_may_use_its_own(self) -> None:
        assert all(throttle.most >= SMALL_OWN for throttle in self.throttles)


def test_any_number_of_senders_keep_to_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OWN", SMALL_OWN)
    monkeypatch.setattr(module, "SHARED", SMALL_SHARED)
    monkeypatch.setattr(module, "SWIFT", SMALL_OWN)
    run_state_machine_as_test(
        Senders,
        settings=settings(max_examples=60, stateful_step_count=50, suppress_health_check=[HealthCheck.too_slow]),
    )
