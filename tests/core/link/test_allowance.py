"""For how long one client may hold up the others: never longer than for what was published, and again when it may."""

from hypothesis import given
from hypothesis import strategies as st

from kernelwire.link.allowance import Allowance
from kernelwire.link.envelope import Payload
from kernelwire.link.log import ENTRY_OVERHEAD, Log

LIMIT = 10_000


def publish(log: Log, size: int) -> None:
    log.append(Payload((b"head", bytes(size - ENTRY_OVERHEAD)), size - ENTRY_OVERHEAD + 4))


@given(st.lists(st.tuples(st.integers(ENTRY_OVERHEAD, 3 * LIMIT), st.floats(0.0, 1.0))), st.floats(0.01, 5.0))
def test_nobody_is_waited_for_longer_than_for_what_was_published(
    steps: list[tuple[int, float]], seconds: float
) -> None:
    log = Log(LIMIT)
    allowance = Allowance(seconds, log)
    waited = 0.0
    for size, share in steps:
        spent = share * allowance.left
        allowance.spend(spent)
        waited += spent
        assert 0 <= allowance.left <= seconds
        assert waited <= seconds * (1 + log.volume / LIMIT) + 1e-6
        publish(log, size)


def test_who_takes_a_logs_worth_in_time_is_waited_for_for_ever() -> None:
    log = Log(LIMIT)
    allowance = Allowance(1.0, log)
    for _ in range(100):
        assert allowance.spend(0.9)
        publish(log, LIMIT)


def test_who_has_used_it_up_is_waited_for_again_after_a_logs_worth_and_not_before() -> None:
    log = Log(LIMIT)
    allowance = Allowance(1.0, log)
    assert allowance.spend(0.5)
    assert not allowance.spend(0.5)
    for _ in range(9):
        publish(log, LIMIT // 10)
        assert allowance.left == 0
    publish(log, LIMIT // 10)
    assert allowance.left > 0.99


def test_it_does_not_grow_beyond_what_it_was() -> None:
    log = Log(LIMIT)
    allowance = Allowance(1.0, log)
    publish(log, 50 * LIMIT)
    assert allowance.left == 1.0


def test_where_nothing_is_kept_it_is_regained_at_once() -> None:
    log = Log(0)
    allowance = Allowance(1.0, log)
    allowance.spend(1.0)
    publish(log, ENTRY_OVERHEAD)
    assert allowance.left == 1.0
