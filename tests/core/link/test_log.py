"""The log and its readers, against a list of all that was ever published."""

from itertools import accumulate

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from kernelwire.channels import Channel
from kernelwire.errors import GapNotice
from kernelwire.link.envelope import Payload, pack, unpack
from kernelwire.link.log import ENTRY_OVERHEAD, PINNED_LIMIT, Feed, Log
from kernelwire.link.records import Lane
from kernelwire.messages import WireMessage

IDLE = b'{"execution_state": "idle"}'


def published(text: bytes = b"", size: int = 100) -> Payload:
    """A message of `size` bytes in its frames."""
    return pack(Channel.IOPUB, WireMessage([text.ljust(size)], b"topic"))


def reply(text: bytes) -> Payload:
    return pack(Channel.SHELL, WireMessage([text]))


def read(payload: Payload | None) -> bytes | tuple[int | None, int | None] | None:
    """A message's text, or a gap's count and size."""
    if payload is None:
        return None
    content = unpack(Lane.D, memoryview(b"".join(payload.pieces))).content
    if isinstance(content, GapNotice):
        return content.count, content.size
    return b"".join(content.frames).strip()


def read_all(feed: Feed) -> list[bytes | tuple[int | None, int | None] | None]:
    found = []
    while feed:
        found.append(read(feed.pull()))
    assert feed.pull() is None
    return found


COST = published().size + ENTRY_OVERHEAD


def log_for(messages: int) -> Log:
    """One that has room for that many."""
    return Log(messages * COST)


def test_a_reader_gets_all_that_is_published_from_now_on() -> None:
    log = log_for(10)
    log.append(published(b"before"))
    feed = Feed(log)
    assert not feed
    assert feed.pull() is None
    log.append(published(b"one"))
    log.append(published(b"two"))
    assert read_all(feed) == [b"one", b"two"]


@pytest.mark.parametrize(
    ("cursor", "found"),
    [
        pytest.param(None, [], id="from now on"),
        pytest.param(0, [b"0", b"1", b"2"], id="from the beginning"),
        pytest.param(2, [b"2"], id="in the middle"),
        pytest.param(3, [], id="from the end"),
        pytest.param(2**64 - 1, [], id="beyond the end, which was another log's"),
    ],
)
def test_a_reader_begins_where_it_says(cursor: int | None, found: list[bytes]) -> None:
    log = log_for(10)
    for number in range(3):
        log.append(published(b"%d" % number))
    feed = Feed(log, cursor)
    assert feed.cursor <= log.end
    assert read_all(feed) == found
    log.append(published(b"new"))
    assert read_all(feed) == [b"new"]


def test_who_falls_behind_gets_an_exact_gap() -> None:
    log = log_for(2)
    feed = Feed(log)
    for number in range(5):
        log.append(published(b"%d" % number, size=100 - number))
    assert log.oldest == 3
    assert read_all(feed) == [(3, 100 + 99 + 98), b"3", b"4"]


def test_a_gap_counts_from_where_the_reader_is() -> None:
    log = log_for(2)
    feed = Feed(log)
    log.append(published(b"0"))
    log.append(published(b"1"))
    assert read(feed.pull()) == b"0"
    for number in range(2, 5):
        log.append(published(b"%d" % number))
    assert read_all(feed) == [(2, 200), b"3", b"4"]


@pytest.mark.parametrize(
    ("cursor", "gap"),
    [
        pytest.param(0, (3, 300), id="the beginning: that is known"),
        pytest.param(1, (2, None), id="what came before is not known any more"),
        pytest.param(2, (1, None), id="likewise"),
    ],
)
def test_a_late_reader_is_told_what_is_known(cursor: int, gap: tuple[int, int | None]) -> None:
    log = log_for(2)
    for number in range(5):
        log.append(published(b"%d" % number))
    feed = Feed(log, cursor)
    assert read_all(feed) == [gap, b"3", b"4"]
    for number in range(5, 9):  # from then on it knows
        log.append(published(b"%d" % number))
    assert read_all(feed) == [(2, 200), b"7", b"8"]


def test_what_is_pinned_stays_between_gaps() -> None:
    log = log_for(4)
    feed = Feed(log)
    for text in (b"0", b"1", IDLE, b"3", b"4", b"5", b"6"):
        log.append(published(text))
    assert read_all(feed) == [(2, 200), IDLE, (1, 100), b"4", b"5", b"6"]
    late = Feed(log, 0)
    log.append(published(b"7"))
    assert read_all(late) == [(2, 200), IDLE, (2, 200), b"5", b"6", b"7"]


def test_a_reader_can_begin_at_what_is_pinned() -> None:
    log = log_for(2)
    for text in (b"0", IDLE, b"2", b"3", b"4"):
        log.append(published(text))
    assert read_all(Feed(log, 1))[0] == IDLE


@pytest.mark.parametrize(
    ("text", "is_pinned"),
    [
        (b'{"execution_state": "idle"}', True),
        (b'{"execution_state":"idle"}', True),
        (b'{"msg_type": "error"}', True),
        (b'{"msg_type": "comm_close"}', True),
        (b'{"msg_type": "shutdown_reply"}', True),
        (b'{"execution_state": "busy"}', False),
        (b'{"msg_type": "stream"}', False),
        (b'{"text": "print(\\"idle\\")"}', False),
        (b"idle", False),
        (b'"idle"' + bytes(5000), False),
    ],
)
def test_what_ends_a_request_is_pinned(text: bytes, is_pinned: bool) -> None:
    for frame in (text, memoryview(text)):
        log = log_for(3)
        feed = Feed(log)
        log.append(pack(Channel.IOPUB, WireMessage([b"signature", frame, b"{}"])))
        for number in range(4):
            log.append(published(b"%d" % number))
        first = read(feed.pull())
        assert (first == b"signature" + text + b"{}") is is_pinned
        assert isinstance(first, tuple) is not is_pinned


def test_what_is_pinned_is_bounded_too() -> None:
    log = Log()
    feed = Feed(log)
    size = 4000
    count = 20 * 1024 * 1024 // size
    for _ in range(count):
        log.append(published(IDLE, size))
    assert log._pinned <= PINNED_LIMIT
    assert log.held <= 16 * 1024 * 1024
    gap, *rest = read_all(feed)
    assert isinstance(gap, tuple)
    assert gap == (count - len(rest), (count - len(rest)) * size)
    assert set(rest) == {IDLE}


def test_one_message_may_be_larger_than_the_log() -> None:
    log = log_for(2)
    feed = Feed(log)
    log.append(published(b"0"))
    size = published().size
    assert not log.is_full_for(size)
    assert log.is_full_for(size + 1)
    log.append(published(b"large", 100_000))
    assert read_all(feed) == [b"0", b"large"]
    log.append(published(b"larger", 200_000))
    assert read_all(Feed(log, 0)) == [(2, 100_100), b"larger"]


def test_one_that_is_larger_does_not_go_with_the_next_small_one() -> None:
    log = log_for(2)
    feeds = Feed(log), Feed(log)
    log.append(published(b"large", 100_000))
    large = log.held
    log.append(published(b"1"))
    log.append(published(b"2"))
    assert log.held == large + 2 * COST
    assert read_all(feeds[0]) == [b"large", b"1", b"2"]
    assert log.is_full_for(published().size)
    assert log.oldest_after(published().size) == 2
    log.append(published(b"3"))
    assert log.oldest == 2
    assert log.held == 2 * COST
    assert read_all(feeds[1]) == [(2, 100_100), b"2", b"3"]


def test_an_empty_log_is_full_for_nothing() -> None:
    assert not log_for(1).is_full_for(100_000)


@pytest.mark.parametrize("size", [0, 100, 1000, 5000, 100_000])
def test_one_message_may_push_out_many(size: int) -> None:
    log = log_for(10)
    for text in (b"0", IDLE, b"2", b"3", IDLE, b"5", b"6", b"7", b"8", b"9"):
        log.append(published(text))
    expected = log.oldest_after(published(b"", size).size)
    assert log.oldest == 0
    log.append(published(b"", size))
    assert log.oldest == expected
    assert expected == {0: 1, 100: 1, 1000: 6, 5000: 0, 100_000: 0}[size]  # what is over the limit does not count


def test_replies_come_at_their_place() -> None:
    log = log_for(10)
    feed = Feed(log)
    feed.reply(reply(b"first"))
    log.append(published(b"0"))
    feed.reply(reply(b"second"))
    feed.reply(reply(b"third"))
    log.append(published(b"1"))
    feed.reply(reply(b"fourth"))
    assert read_all(feed) == [b"first", b"0", b"second", b"third", b"1", b"fourth"]


def test_replies_stand_between_gaps_and_are_never_lost() -> None:
    log = log_for(2)
    feed = Feed(log)
    for number in range(8):
        log.append(published(b"%d" % number))
        if number == 2:
            feed.reply(reply(b"reply"))
    assert read_all(feed) == [(3, 300), b"reply", (3, 300), b"6", b"7"]


def test_replies_are_accounted_for() -> None:
    feed = Feed(log_for(2))
    payload = reply(b"reply")
    feed.reply(payload)
    feed.reply(payload)
    assert feed.replies_held == 2 * (payload.size + ENTRY_OVERHEAD)
    read_all(feed)
    assert feed.replies_held == 0


def test_readers_are_independent() -> None:
    log = log_for(3)
    slow, quick = Feed(log), Feed(log)
    found = []
    for number in range(6):
        log.append(published(b"%d" % number))
        found += read_all(quick)
    assert found == [b"%d" % number for number in range(6)]
    assert read_all(slow) == [(3, 300), b"3", b"4", b"5"]


# Against a plain list.

LIMIT = 4000


class Reader:
    """A feed, and what the model knows of it."""

    def __init__(self, feed: Feed, at: int, *, known: bool) -> None:
        self.feed = feed
        self.at = at  # the number of the next message
        self.known = known  # whether it is known how many bytes were before that
        self.replies: list[tuple[int, bytes]] = []  # and before which number they stand


class LogAndModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.log = Log(LIMIT)
        self.all: list[Payload] = []
        self.pinned: list[bool] = []
        self.sizes: list[int] = []  # of the frames alone
        self.readers: list[Reader] = []
        self.replies = 0

    @rule(size=st.integers(20, 200) | st.integers(1000, 6000), pinned=st.booleans())
    def publish(self, size: int, pinned: bool) -> None:
        self.all.append(published(b"%d %s" % (len(self.all), b'"idle"' if pinned else b""), size))
        self.pinned.append(pinned and self.all[-1].size <= 64 * 1024)
        self.sizes.append(size)
        self.log.append(self.all[-1])

    @precondition(lambda self: len(self.readers) < 4)
    @rule(cursor=st.none() | st.integers(0, 30))
    def come(self, cursor: int | None) -> None:
        at = len(self.all) if cursor is None else min(cursor, len(self.all))
        known = at in (0, len(self.all)) or self.is_there(at)
        self.readers.append(Reader(Feed(self.log, cursor), at, known=known))

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, 3))
    def answer(self, which: int) -> None:
        reader = self.readers[which % len(self.readers)]
        self.replies += 1
        text = b"reply %d" % self.replies
        reader.feed.reply(reply(text))
        reader.replies.append((len(self.all), text))

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, 3), count=st.integers(1, 12))
    def read(self, which: int, count: int) -> None:
        reader = self.readers[which % len(self.readers)]
        for _ in range(count):
            self.read_one(reader)

    def read_one(self, reader: Reader) -> None:
        has_more = bool(reader.feed)
        found = read(reader.feed.pull())
        assert has_more is (found is not None)
        due = reader.replies[0][0] if reader.replies else None
        if found is None:
            assert reader.at == len(self.all)
            assert due is None
        elif due == reader.at:  # a reply comes before what was published after it
            assert found == reader.replies.pop(0)[1]
        elif isinstance(found, tuple):
            end = next(n for n in range(reader.at, len(self.all)) if n == due or self.is_there(n))
            size = sum(self.sizes[reader.at : end])
            assert end > reader.at
            assert found == (end - reader.at, size if reader.known else None)
            reader.at, reader.known = end, True
        else:
            assert found.split()[0] == b"%d" % reader.at
            reader.at, reader.known = reader.at + 1, True
        assert reader.feed.cursor == reader.at

    def is_there(self, number: int) -> bool:
        entry = self.log.at(number)
        return entry is not None and entry.number == number

    @invariant()
    def what_is_there_is_the_newest_and_the_newest_of_what_is_pinned(self) -> None:
        there = [self.is_there(number) for number in range(len(self.all))]
        assert all(there[self.log.oldest :])
        costs = [payload.size + ENTRY_OVERHEAD for payload in self.all]
        pins = [number for number in range(self.log.oldest) if self.pinned[number]]
        together = accumulate(costs[number] for number in reversed(pins))
        kept = sum(total <= LIMIT // 2 for total in together)
        assert [n for n in range(self.log.oldest) if there[n]] == (pins[-kept:] if kept else [])
        assert self.log.held == sum(cost for cost, is_there in zip(costs, there, strict=True) if is_there)

    @invariant()
    def no_more_is_held_than_allowed_and_one_message(self) -> None:
        if self.log.held > LIMIT:
            costs = [payload.size + ENTRY_OVERHEAD for payload in self.all[self.log.oldest :]]
            large = [cost for cost in costs if cost > LIMIT]
            alone = LIMIT // 2 + costs[0] if len(costs) == 1 else 0
            assert self.log.held <= max(LIMIT + (large[-1] if large else 0), alone)

    @invariant()
    def what_was_published_is_counted(self) -> None:
        assert self.log.end == len(self.all)
        assert self.log.total == sum(self.sizes)

    @invariant()
    def replies_are_accounted_for(self) -> None:
        for reader in self.readers:
            expected = sum(reply(text).size + ENTRY_OVERHEAD for _, text in reader.replies)
            assert reader.feed.replies_held == expected


def test_a_log_is_what_the_model_says() -> None:
    run_state_machine_as_test(
        LogAndModel,
        settings=settings(max_examples=80, stateful_step_count=50, suppress_health_check=[HealthCheck.too_slow]),
    )
