"""A client's end of a link: each row of its table, and of what it makes of a welcome."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire.channels import Channel
from kernelwire.errors import GapNotice, LinkViolation
from kernelwire.link import client as module
from kernelwire.link.client import ClientLink, Joined
from kernelwire.link.envelope import CHANNELS, Item, pack
from kernelwire.link.peer import DEAD_AFTER, PING_AFTER, Timing
from kernelwire.link.records import (
    Beat,
    Bye,
    Control,
    Data,
    Hello,
    Lane,
    Ping,
    Position,
    Ready,
    Reason,
    Status,
    Welcome,
    data_header,
    decode,
)
from kernelwire.link.resume import NOTHING, WINDOW, Outcome
from kernelwire.link.throttle import OWN
from kernelwire.messages import WireMessage

from .state_pages import state_rows

NOW = 1000.0
EPOCH = 77
SECRET = bytes(range(32))

tested: set[tuple[str, str]] = set()


def row(state: str, comes: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Says which row of the table a test is for."""
    tested.add((state, comes))
    return lambda test: test


def test_every_row_of_the_table_has_its_test() -> None:
    assert tested == {(each.state, each.comes) for each in state_rows(module)}


def client(cursor: int | None = None, timing: Timing | None = None) -> ClientLink:
    return ClientLink(b"me", max_message_bytes=10_000, cursor=cursor, resume_secret=SECRET, timing=timing or Timing())


def says(link: ClientLink, now: float = NOW) -> list[Data | Control]:
    """The records of the next frame."""
    has_frame, plaintext = link.has_frame(now), link.next_frame(now)
    assert has_frame is bool(plaintext)
    return list(decode(plaintext))


def greeted(link: ClientLink | None = None) -> ClientLink:
    """One whose hello is sent."""
    link = link or client()
    link.open(NOW)
    (hello,) = says(link)
    assert isinstance(hello, Hello)
    return link


def hears(link: ClientLink, *records: Control) -> list[object]:
    return [*link.receive(b"".join(record.encode() for record in records), NOW)]


def joined(link: ClientLink | None = None) -> ClientLink:
    """One that is up, with a new host."""
    link = greeted(link)
    assert hears(link, Welcome(EPOCH, False, NOTHING, 5)) == [Joined(Outcome.BEGIN, 5)]
    return link


def settle(link: ClientLink) -> ClientLink:
    while says(link):
        pass
    return link


def chunks(link: ClientLink) -> list[tuple[int, int, bytes]]:
    """Lane, number and bytes of all that it sends now."""
    found: list[tuple[int, int, bytes]] = []
    while records := says(link):
        found += [(each.lane, each.seq, bytes(each.chunk)) for each in records if isinstance(each, Data)]
    return found


REQUEST = WireMessage([b"request"])
OCTETS = b"".join(pack(Channel.SHELL, REQUEST).pieces)
CREDIT = (Status(0, 0, 100_000), Status(1, 0, 100_000))


@row("down", "`open`")
@pytest.mark.parametrize("cursor", [None, 12])
def test_the_first_frame_is_the_hello_and_nothing_else_goes_before_the_welcome(cursor: int | None) -> None:
    link = client(cursor)
    link.send(Channel.SHELL, REQUEST)
    link.peer.say(Beat(1))
    assert says(link) == []
    link.open(NOW)
    assert says(link) == [Hello(b"me", SECRET, 0, NOTHING, cursor, 1)]
    assert says(link) == []
    assert says(link, NOW + PING_AFTER) == []


def test_each_hello_is_newer_than_the_one_before() -> None:
    link = client()
    attempts = []
    for _ in range(3):
        link.open(NOW)
        (hello,) = says(link)
        assert isinstance(hello, Hello)
        attempts.append(hello.attempt)
        link.close()
    assert attempts == [1, 2, 3]


def test_every_client_has_a_secret_of_its_own() -> None:
    secrets = set()
    for _ in range(2):
        link = ClientLink(b"me", max_message_bytes=1)
        link.open(NOW)
        (hello,) = says(link)
        assert isinstance(hello, Hello)
        assert len(hello.resume_secret) == 32
        secrets.add(hello.resume_secret)
    assert len(secrets) == 2


@row("greeting", "welcome")
def test_after_the_welcome_of_a_new_host_what_waited_is_sent() -> None:
    link = client()
    link.send(Channel.SHELL, REQUEST)
    joined(link)
    assert says(link) == [Status(0, 0, WINDOW[Lane.C]), Status(1, 0, WINDOW[Lane.D])]
    hears(link, *CREDIT)
    assert chunks(link) == [(1, 1, OCTETS)]


@row("greeting", "welcome")
def test_a_host_that_resumes_gets_what_it_has_not_got() -> None:
    link = joined()
    for _ in range(3):
        link.send(Channel.SHELL, REQUEST)
    hears(link, *CREDIT)
    chunks(link)
    link.close()
    link.send(Channel.SHELL, REQUEST)  # new, and so after what is sent again
    greeted(link)
    assert hears(link, Welcome(EPOCH, True, (Position(0, 0), Position(1, 3)), 9)) == [Joined(Outcome.RESUME, 9)]
    hears(link, *CREDIT)
    assert chunks(link) == [(1, 2, OCTETS[3:]), (1, 3, OCTETS), (1, 4, OCTETS)]


def test_the_hello_says_how_far_the_client_has_come() -> None:
    link = joined(client(cursor=3))
    says(link)
    message = pack(Channel.SHELL, WireMessage([b"reply"]))
    whole = b"".join(message.pieces)
    link.receive(data_header(1, 1, message.size, final=True) + whole, NOW)
    link.receive(data_header(1, 2, 4, final=False) + whole[:4], NOW)
    link.close()
    link.open(NOW)
    assert says(link) == [Hello(b"me", SECRET, EPOCH, (Position(0, 0), Position(1, 4)), None, 2)]


@row("greeting", "welcome")
def test_a_host_that_knows_nothing_of_before_means_a_gap_everywhere() -> None:
    link = joined()
    hears(link, *CREDIT)
    link.send(Channel.SHELL, REQUEST)
    chunks(link)
    link.send(Channel.SHELL, REQUEST)  # for the old host, to whom it did not come
    link.close()
    greeted(link)
    first, *gaps = hears(link, Welcome(EPOCH + 1, False, NOTHING, 0))
    assert first == Joined(Outcome.RESTART, 0)
    assert [gap.channel for gap in gaps if isinstance(gap, Item)] == list(CHANNELS)
    for gap in gaps:
        assert isinstance(gap, Item)
        assert isinstance(gap.content, GapNotice)
        assert (gap.content.count, gap.content.size) == (None, None)
    hears(link, *CREDIT)
    assert chunks(link) == []  # nothing is run twice
    link.send(Channel.SHELL, REQUEST)
    assert chunks(link) == [(1, 1, OCTETS)]
    link.close()
    link.open(NOW)
    (hello,) = says(link)
    assert isinstance(hello, Hello)
    assert hello.epoch == EPOCH + 1


@row("greeting", "welcome")
@pytest.mark.parametrize(
    ("epoch", "positions"),
    [
        pytest.param(EPOCH + 1, NOTHING, id="with another epoch"),
        pytest.param(EPOCH, (Position(1, 0), Position(0, 0)), id="where it cannot be"),
    ],
)
def test_a_host_that_resumes_what_never_was_is_left_and_then_met_anew(
    epoch: int, positions: tuple[Position, Position]
) -> None:
    link = joined()
    link.close()
    greeted(link)
    (violation,) = hears(link, Welcome(epoch, True, positions, 0))
    assert isinstance(violation, LinkViolation)
    link.close()
    link.open(NOW)
    (hello,) = says(link)
    assert isinstance(hello, Hello)
    assert hello.epoch == 0  # nothing to resume
    assert hears(link, Welcome(EPOCH, False, NOTHING, 0))[0] == Joined(Outcome.RESTART, 0)


def test_a_host_that_resumes_a_client_that_met_none_is_left() -> None:
    link = greeted()
    (violation,) = hears(link, Welcome(EPOCH, True, NOTHING, 0))
    assert isinstance(violation, LinkViolation)


@row("greeting", "bye")
@pytest.mark.parametrize("reason", [Reason.CONFLICT, Reason.FULL, Reason.CLOSED])
def test_a_host_may_refuse(reason: Reason) -> None:
    link = greeted()
    assert link.receive(Bye(reason, ()).encode() + b"rubbish", NOW) == [Bye(reason, ())]
    link.close()
    assert greeted(link)


@row("greeting", "anything else")
@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"rubbish",
        Ping(0).encode(),
        Ready().encode(),
        Status(0, 0, 0).encode(),
        Hello(b"me", SECRET, 0, NOTHING, None, 1).encode(),
        data_header(0, 1, 1, final=False) + b"x",
        Ping(0).encode() + Welcome(EPOCH, False, NOTHING, 0).encode(),
        Welcome(EPOCH, False, NOTHING, 0).encode() + Ready().encode(),
        Welcome(EPOCH, False, NOTHING, 0).encode() + b"\0",
        Welcome(EPOCH, False, NOTHING, 0).encode()[:-1],
    ],
)
def test_anything_but_a_welcome_alone_is_a_violation(plaintext: bytes) -> None:
    link = greeted()
    (violation,) = link.receive(plaintext, NOW)
    assert isinstance(violation, LinkViolation)
    assert says(link) == []


@row("greeting", "anything else")
def test_a_welcome_before_the_hello_is_a_violation() -> None:
    link = client()
    link.open(NOW)
    (violation,) = hears(link, Welcome(EPOCH, False, NOTHING, 0))
    assert isinstance(violation, LinkViolation)


@given(st.binary(max_size=60))
def test_random_bytes_are_no_welcome(plaintext: bytes) -> None:
    (violation,) = greeted().receive(plaintext, NOW)
    assert isinstance(violation, LinkViolation)


@row("up", "anything")
def test_up_it_is_a_peer() -> None:
    link = settle(joined())
    assert hears(link, Ready(), Beat(1)) == [Ready(), Beat(1)]
    assert not link.is_swift()
    window = WINDOW[Lane.D]
    hears(link, Status(Lane.D, 0, window + OWN), Status(Lane.D, 0, window + 2 * OWN))  # in no time
    assert link.is_swift()
    assert link.wake_at() == link.peer.wake_at() == NOW + PING_AFTER
    assert says(link, NOW + PING_AFTER) == [Ping(0)]
    assert link.dead_at() == link.peer.dead_at() == NOW + DEAD_AFTER
    assert not link.is_dead(NOW + DEAD_AFTER - 0.01)
    assert link.is_dead(NOW + DEAD_AFTER)
    (violation,) = hears(link, Welcome(EPOCH, False, NOTHING, 0))
    assert isinstance(violation, LinkViolation)


def test_a_greeting_that_gets_no_answer_is_given_up() -> None:
    link = greeted()
    assert link.dead_at() == NOW + DEAD_AFTER
    assert not link.is_dead(NOW + DEAD_AFTER - 0.01)
    assert link.is_dead(NOW + DEAD_AFTER)
    assert greeted(client(timing=Timing(dead_after=2))).is_dead(NOW + 2)


@row("any", "`close`")
@pytest.mark.parametrize("state", [client, greeted, joined])
def test_closed_it_is_down(state: Callable[[], ClientLink]) -> None:
    link = state()
    link.send(Channel.SHELL, REQUEST)
    link.close()
    assert not link.peer.up
    assert says(link) == []
    assert not link.is_dead(NOW + 2 * DEAD_AFTER)
    assert link.wake_at() is None
    assert hears(link, Ping(0)) == []
    greeted(link)
    assert link.queues[1].pull() is not None  # what waited waits


def test_each_channel_has_its_lane() -> None:
    link = joined()
    hears(link, *CREDIT)
    for channel in CHANNELS:
        link.send(channel, WireMessage([b"x"]))
    assert [lane for lane, _, _ in chunks(link)] == [0, 0, 1, 1]
