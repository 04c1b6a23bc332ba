"""Counting what happens against what may."""

from hypothesis import given
from hypothesis import strategies as st

from kernelwire.link.resume import WINDOW
from kernelwire_socketio.relay import limits
from kernelwire_socketio.relay.limits import Bucket, Buckets

STEPS = st.lists(st.tuples(st.floats(0, 2), st.integers(1, 5)), max_size=50)


def test_a_link_s_window_fits_into_a_flow() -> None:
    assert sum(WINDOW.values()) < limits.FLOW_LIMIT


@given(STEPS)
def test_who_waits_as_told_keeps_to_the_rate(steps: list[tuple[float, int]]) -> None:
    bucket = Bucket(10, 20, 0)
    now, spent = 0.0, 0
    for passed, amount in steps:
        now += passed
        now += bucket.spend(amount, now)
        spent += amount
        assert spent <= 20 + 10 * now + 1e-6


@given(STEPS)
def test_what_is_not_there_cannot_be_spent(steps: list[tuple[float, int]]) -> None:
    bucket = Bucket(10, 20, 0)
    now, spent = 0.0, 0
    for passed, amount in steps:
        now += passed
        spent += amount if bucket.try_spend(amount, now) else 0
        assert spent <= 20 + 10 * now + 1e-6


def test_being_refused_costs_nothing() -> None:
    bucket = Bucket(1, 1, 0)
    assert bucket.try_spend(1, 0)
    assert not any(bucket.try_spend(1, 0.5) for _ in range(100))
    assert bucket.try_spend(1, 1)


def test_each_name_has_its_own() -> None:
    buckets = Buckets(1, 2)
    assert [buckets.try_spend("a", 0) for _ in range(3)] == [True, True, False]
    assert buckets.try_spend("b", 0)


def test_the_idle_are_forgotten() -> None:
    buckets = Buckets(1, 2)
    for number in range(100):
        assert buckets.try_spend(number, number * 10)
    assert len(buckets._buckets) == 1


def test_many_names_take_no_more_room(monkeypatch: object) -> None:
    buckets = Buckets(1, 2)
    for number in range(limits._SOURCES + 100):
        assert buckets.try_spend(number, 0)
    assert len(buckets._buckets) == limits._SOURCES
