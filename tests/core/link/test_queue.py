"""The queue of a lane: order, and what it costs."""

from hypothesis import given
from hypothesis import strategies as st

from kernelwire.link.envelope import Payload
from kernelwire.link.log import ENTRY_OVERHEAD
from kernelwire.link.queue import Queue


def payload(size: int) -> Payload:
    return Payload((bytes(size),), size)


@given(st.lists(st.integers(0, 50) | st.none(), max_size=30))
def test_first_in_first_out_and_accounted_for(steps: list[int | None]) -> None:
    queue = Queue()
    model: list[Payload] = []
    for step in steps:  # a size to put, None to pull
        if step is not None:
            model.append(payload(step))
            queue.put(model[-1])
        else:
            assert queue.pull() is (model.pop(0) if model else None)
        assert bool(queue) is bool(model)
        assert queue.held == sum(each.size + ENTRY_OVERHEAD for each in model)


def test_what_is_dropped_costs_nothing() -> None:
    queue = Queue()
    queue.put(payload(5))
    queue.put(payload(6))
    queue.clear()
    assert not queue
    assert queue.held == 0
    assert queue.pull() is None
