"""A host's end of a link: whom it lets in, as whom, what is kept for whom and for how long; and with real clients."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire.channels import Channel
from kernelwire.errors import GapNotice, LinkViolation
from kernelwire.link.client import ClientLink, Joined
from kernelwire.link.envelope import Item, pack
from kernelwire.link.host import MEMBERS_LIMIT, RESUME_WINDOW, Admission, HostLink, Member
from kernelwire.link.log import ENTRY_OVERHEAD, Log
from kernelwire.link.peer import DEAD_AFTER, STATUS_AFTER, Timing
from kernelwire.link.records import Bye, Control, Hello, Lane, Ping, Position, Reason, Status, Welcome, decode
from kernelwire.link.resume import NOTHING, WINDOW, Outcome
from kernelwire.link.throttle import OWN
from kernelwire.messages import WireMessage

NOW = 1000.0
EPOCH = 500
SECRET = bytes(range(32))
OTHER_SECRET = bytes(32)


def host(members: int = MEMBERS_LIMIT, log: Log | None = None) -> HostLink:
    return HostLink(max_message_bytes=100_000, log=log, epoch=EPOCH, members_limit=members)


def hello(
    identity: bytes = b"me",
    *,
    secret: bytes = SECRET,
    epoch: int = 0,
    lanes: tuple[Position, Position] = NOTHING,
    cursor: int | None = None,
    attempt: int = 1,
) -> bytes:
    return Hello(identity, secret, epoch, lanes, cursor, attempt).encode()


def answer(admission: Admission) -> Control:
    (record,) = decode(admission.answer)
    assert isinstance(record, Control)
    return record


def admitted(host: HostLink, plaintext: bytes, now: float = NOW) -> Member:
    """Who that hello is."""
    admission = host.greet(plaintext, now)
    assert admission.member is not None
    return admission.member


# The rows of HELLO_RULES.


def test_who_is_not_known_begins() -> None:
    link = host()
    link.publish(WireMessage([b"before"]))
    admission = link.greet(hello(), NOW)
    member = admission.member
    assert member is not None
    assert answer(admission) == Welcome(EPOCH, False, NOTHING, 1)
    assert (admission.is_new, admission.ended) == (True, None)
    assert link.members == {b"me": member}
    assert member.peer.up
    assert (member.since, member.identity, member.held) == (None, b"me", 0)


@pytest.mark.parametrize(("cursor", "at"), [(None, 3), (1, 1), (3, 3), (2**64 - 1, 3)])
def test_a_new_client_says_where_in_the_log_it_begins(cursor: int | None, at: int) -> None:
    link = host()
    for number in range(3):
        link.publish(WireMessage([b"%d" % number]))
    assert answer(link.greet(hello(cursor=cursor), NOW)) == Welcome(EPOCH, False, NOTHING, at)


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(hello(secret=OTHER_SECRET, epoch=EPOCH, attempt=2), id="another secret"),
        pytest.param(hello(epoch=EPOCH, attempt=1), id="the same hello again"),
        pytest.param(hello(epoch=EPOCH, attempt=0), id="a hello from before"),
        pytest.param(hello(secret=OTHER_SECRET, attempt=2), id="another secret, and it met nobody"),
    ],
)
@pytest.mark.parametrize("connected", [True, False])
def test_an_identity_is_its_owners(second: bytes, connected: bool) -> None:
    link = host()
    member = admitted(link, hello())
    if not connected:
        member.close(NOW)
    admission = link.greet(second, NOW)
    assert answer(admission) == Bye(Reason.CONFLICT, ())
    assert (admission.member, admission.is_new, admission.ended) == (None, False, None)
    assert link.members == {b"me": member}
    assert member.peer.up is connected


def test_who_comes_back_goes_on() -> None:
    link = host()
    member = admitted(link, hello(cursor=0))
    member.close(NOW)
    link.publish(WireMessage([b"meanwhile"]))
    admission = link.greet(hello(epoch=EPOCH, attempt=2), NOW + 8 * 3600)
    assert admission == Admission(member, Welcome(EPOCH, True, NOTHING, 0).encode())
    assert member.since is None
    assert not member.peer.is_dead(NOW + 8 * 3600)


def test_who_comes_back_while_the_old_connection_seems_to_be_up_goes_on() -> None:
    link = host()
    member = admitted(link, hello())
    assert admitted(link, hello(epoch=EPOCH, attempt=2)) is member
    assert link.greet(hello(epoch=EPOCH, attempt=2), NOW).member is None  # that hello is used up


@pytest.mark.parametrize(
    ("epoch", "lanes"),
    [
        pytest.param(0, NOTHING, id="it never heard the welcome, or has lost its memory"),
        pytest.param(EPOCH - 1, NOTHING, id="it means another session"),
        pytest.param(EPOCH, (Position(1, 0), Position(0, 0)), id="it has more than was sent"),
        pytest.param(EPOCH, (Position(0, 0), Position(0, 1)), id="and on the other lane"),
    ],
)
def test_who_cannot_go_on_begins_anew(epoch: int, lanes: tuple[Position, Position]) -> None:
    link = host()
    old = admitted(link, hello())
    old.send(Channel.SHELL, WireMessage([b"for the old one"]))
    admission = link.greet(hello(epoch=epoch, lanes=lanes, attempt=2), NOW)
    assert answer(admission) == Welcome(EPOCH + 1, False, NOTHING, 0)
    assert admission.is_new
    assert admission.ended is old
    assert admission.member is not old
    assert admission.member is not None
    assert admission.member.held == 0
    assert link.members == {b"me": admission.member}


# No hello.


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"rubbish",
        Ping(0).encode(),
        Welcome(EPOCH, True, NOTHING, 0).encode(),
        hello() + Ping(0).encode(),
        Ping(0).encode() + hello(),
        hello() + hello(b"another"),
        hello() + b"\0",
        hello()[:-1],
    ],
)
def test_anything_but_a_hello_alone_is_a_violation(plaintext: bytes) -> None:
    link = host()
    with pytest.raises(LinkViolation):
        link.greet(plaintext, NOW)
    assert link.members == {}


@given(st.binary(max_size=80))
def test_random_bytes_are_no_hello(plaintext: bytes) -> None:
    with pytest.raises(LinkViolation):
        host().greet(plaintext, NOW)


# How many, and for how long.


def test_a_full_house_takes_nobody_else() -> None:
    link = host(members=2)
    one, two = admitted(link, hello(b"one")), admitted(link, hello(b"two"))
    admission = link.greet(hello(b"three"), NOW)
    assert answer(admission) == Bye(Reason.FULL, ())
    assert (admission.member, admission.ended) == (None, None)
    assert link.members == {b"one": one, b"two": two}
    assert admitted(link, hello(b"two", epoch=EPOCH + 1, attempt=2)) is two
    assert admitted(link, hello(b"one", attempt=2)) is not one  # its own place


def test_who_has_been_away_longest_makes_room() -> None:
    link = host(members=3)
    members = {name: admitted(link, hello(name)) for name in (b"a", b"b", b"c")}
    members[b"c"].close(NOW + 1)
    members[b"a"].close(NOW + 2)
    admission = link.greet(hello(b"d"), NOW + 3)
    assert admission.is_new
    assert admission.ended is members[b"c"]  # the caller has to know
    assert set(link.members) == {b"a", b"b", b"d"}
    assert answer(link.greet(hello(b"c", epoch=EPOCH + 2, attempt=2), NOW + 4)) == Welcome(EPOCH + 4, False, NOTHING, 0)


def test_who_is_away_for_too_long_is_forgotten() -> None:
    link = host()
    away, connected = admitted(link, hello(b"away")), admitted(link, hello(b"connected"))
    away.close(NOW)
    assert list(link.expired(NOW + RESUME_WINDOW - 1)) == []
    assert list(link.expired(NOW + RESUME_WINDOW)) == [away]
    assert list(link.expired(NOW + 9 * RESUME_WINDOW)) == []
    assert link.members == {b"connected": connected}


def test_only_the_member_itself_is_forgotten() -> None:
    link = host()
    old = admitted(link, hello())
    new = admitted(link, hello(attempt=2))
    link.forget(old)
    assert link.members == {b"me": new}
    link.forget(new)
    link.forget(new)
    assert link.members == {}


def test_who_ends_leaves_its_part_of_what_is_shared_to_others() -> None:
    link = host()
    member = admitted(link, hello())
    shared = link._pool.left
    member.peer.receive(Status(1, 0, WINDOW[Lane.D]).encode(), NOW)
    member.peer.receive(Status(1, 0, WINDOW[Lane.D] + OWN).encode(), NOW)  # in no time
    for _ in range(30):
        member.send(Channel.SHELL, WireMessage([bytes(99_000)]))
    while member.peer.next_frame(NOW):
        pass
    assert link._pool.left < shared
    admission = link.greet(hello(attempt=2), NOW)  # from somebody who has forgotten all
    assert admission.ended is member
    assert not member.peer.up
    assert link._pool.left == shared


def test_no_two_sessions_have_one_epoch() -> None:
    link = host()
    epochs = {admitted(link, hello(b"%d" % number)).epoch for number in range(5)}
    epochs |= {admitted(link, hello(b"0", attempt=number)).epoch for number in range(2, 5)}
    assert len(epochs) == 8
    assert 0 not in epochs
    others = {admitted(HostLink(max_message_bytes=1), hello()).epoch for _ in range(2)}
    assert len(others | epochs) == 10


def test_what_waits_for_a_client_is_accounted_for() -> None:
    link = host()
    member = admitted(link, hello())
    member.close(NOW)
    for channel in (Channel.SHELL, Channel.CONTROL, Channel.STDIN):
        member.send(channel, WireMessage([bytes(1000)]))
    assert 3 * 1000 < member.held - 3 * ENTRY_OVERHEAD < 3 * 1050
    link.publish(WireMessage([bytes(1000)]))
    assert 3 * 1000 < member.held - 3 * ENTRY_OVERHEAD < 3 * 1050  # the log is everybody's


def test_the_times_can_be_chosen() -> None:
    link = HostLink(max_message_bytes=1, timing=Timing(dead_after=2))
    assert admitted(link, hello()).peer.is_dead(NOW + 2)
    assert not admitted(host(), hello()).peer.is_dead(NOW + DEAD_AFTER - 0.01)


# With real clients.


class Line:
    """A client, and its connection to whichever host."""

    def __init__(self, identity: bytes = b"me") -> None:
        self.link = ClientLink(identity, max_message_bytes=100_000, resume_secret=SECRET)
        self.member: Member | None = None
        self.got: list[object] = []  # what came to the client
        self.asked: list[tuple[Channel, bytes]] = []  # what came to the host

    def connect(self, host: HostLink, *, now: float = NOW) -> Admission:
        self.link.open(now)
        admission = host.greet(self.link.next_frame(now), now)
        self.member = admission.member
        self.take(admission.answer, now)
        return admission

    def take(self, plaintext: bytes, now: float) -> None:
        for event in self.link.receive(plaintext, now):
            if isinstance(event, Item) and isinstance(event.content, WireMessage):
                self.got.append((event.channel, bytes(event.content.frames[0])))
            elif isinstance(event, Item):
                assert isinstance(event.content, GapNotice)
                self.got.append((event.channel, event.content.count, event.content.size))
            else:
                self.got.append(event)

    def settle(self, now: float = NOW) -> "Line":
        assert self.member is not None
        for time in (now, now + STATUS_AFTER):
            while self.link.has_frame(time) or self.member.peer.has_frame(time):
                for event in self.member.peer.receive(self.link.next_frame(time), time):
                    assert isinstance(event, Item)
                    assert isinstance(event.content, WireMessage)
                    self.asked.append((event.channel, bytes(event.content.frames[0])))
                self.take(self.member.peer.next_frame(time), time)
        return self

    def cut(self, now: float = NOW) -> None:
        assert self.member is not None
        self.link.close()
        self.member.close(now)


def test_requests_replies_and_output_in_order() -> None:
    link, line = host(), Line()
    line.connect(link)
    line.link.send(Channel.SHELL, WireMessage([b"request"]))
    line.link.send(Channel.CONTROL, WireMessage([b"interrupt"]))
    line.settle()
    assert line.asked == [(Channel.CONTROL, b"interrupt"), (Channel.SHELL, b"request")]
    assert line.member is not None
    link.publish(WireMessage([b"busy"], b"topic"))
    line.member.send(Channel.SHELL, WireMessage([b"reply"]))
    link.publish(WireMessage([b"idle"], b"topic"))
    line.settle()
    assert line.got == [
        Joined(Outcome.BEGIN, 0),
        (Channel.IOPUB, b"busy"),
        (Channel.SHELL, b"reply"),
        (Channel.IOPUB, b"idle"),
    ]


def test_what_came_while_a_client_was_away_is_there_when_it_is_back() -> None:
    link, line = host(), Line()
    line.connect(link)
    line.settle().cut()
    assert line.member is not None
    link.publish(WireMessage([b"output"]))
    line.member.send(Channel.SHELL, WireMessage([b"reply"]))
    line.member.send(Channel.STDIN, WireMessage([b"question"]))
    line.link.send(Channel.SHELL, WireMessage([b"request"]))
    line.connect(link, now=NOW + 8 * 3600)
    line.settle(NOW + 8 * 3600)
    assert line.got == [
        Joined(Outcome.BEGIN, 0),
        Joined(Outcome.RESUME, 0),
        (Channel.STDIN, b"question"),
        (Channel.IOPUB, b"output"),
        (Channel.SHELL, b"reply"),
    ]
    assert line.asked == [(Channel.SHELL, b"request")]


def test_who_was_away_for_too_much_gets_an_exact_gap() -> None:
    link, line = host(log=Log(5 * (100 + 10 + ENTRY_OVERHEAD))), Line()
    line.connect(link)
    line.settle().cut()
    for number in range(20):
        link.publish(WireMessage([b"%d" % number + bytes(98)]))
    line.connect(link)
    line.settle()
    _, _, gap, *rest = line.got
    assert isinstance(gap, tuple)
    count = 20 - len(rest)
    assert gap == (Channel.IOPUB, count, sum(98 + len(str(number)) for number in range(count)))
    assert len(rest) >= 4


@pytest.mark.parametrize("forgotten", ["the host was started anew", "the client was away for too long"])
def test_after_a_restart_the_client_is_told_and_nothing_runs_twice(forgotten: str) -> None:
    link, line = host(), Line()
    line.connect(link)
    line.link.send(Channel.SHELL, WireMessage([b"once"]))
    line.settle().cut()
    line.link.send(Channel.SHELL, WireMessage([b"never"]))
    if forgotten == "the host was started anew":
        link = HostLink(max_message_bytes=100_000)
    else:
        assert [*link.expired(NOW + RESUME_WINDOW)] == [line.member]
    line.got.clear()
    line.connect(link)
    line.link.send(Channel.SHELL, WireMessage([b"after"]))
    line.settle()
    channels = (Channel.SHELL, Channel.CONTROL, Channel.STDIN, Channel.IOPUB)
    assert line.got == [Joined(Outcome.RESTART, 0), *((channel, None, None) for channel in channels)]
    assert line.asked == [(Channel.SHELL, b"once"), (Channel.SHELL, b"after")]


def test_a_welcome_that_never_came_begins_anew() -> None:
    link, line = host(), Line()
    line.link.open(NOW)
    lost = link.greet(line.link.next_frame(NOW), NOW)
    line.link.close()
    admission = line.connect(link)
    assert admission.ended is lost.member
    assert line.got == [Joined(Outcome.BEGIN, 0)]


def test_a_hello_that_was_held_up_undoes_nothing() -> None:
    link, line = host(), Line()
    line.link.open(NOW)
    held_up = line.link.next_frame(NOW)
    line.link.close()
    line.connect(link)
    line.settle()
    assert answer(link.greet(held_up, NOW)) == Bye(Reason.CONFLICT, ())
    link.publish(WireMessage([b"output"]))
    line.settle()
    assert line.got[-1] == (Channel.IOPUB, b"output")


def test_each_client_has_its_own_replies_and_all_have_the_output() -> None:
    link = host()
    one, two = Line(b"one"), Line(b"two")
    one.connect(link)
    two.connect(link)
    assert one.member is not None
    one.member.send(Channel.SHELL, WireMessage([b"reply"]))
    link.publish(WireMessage([b"output"]))
    assert one.settle().got[1:] == [(Channel.SHELL, b"reply"), (Channel.IOPUB, b"output")]
    assert two.settle().got[1:] == [(Channel.IOPUB, b"output")]


def test_a_client_that_does_not_read_keeps_nobody_else_waiting() -> None:
    link = host()
    slow, quick = Line(b"slow"), Line(b"quick")
    slow.connect(link)
    quick.connect(link)
    assert slow.member is not None
    slow.settle()
    slow.link.peer.into[1].room = False
    for _ in range(200):
        link.publish(WireMessage([bytes(20_000)]))
        quick.settle()
    slow.settle()
    assert len(quick.got) == 201
    assert len(slow.got) * 20_000 < 1_200_000
    before = len(slow.got)
    for _ in range(5):  # new connections let no more in
        slow.cut()
        slow.connect(link)
        slow.settle()
    assert [each for each in slow.got[before:] if not isinstance(each, Joined)] == []
    slow.link.peer.into[1].room = True
    slow.settle()
    assert len([each for each in slow.got if not isinstance(each, Joined)]) == 200


def test_a_client_is_waited_for_only_if_it_would_lose_something_and_only_for_so_long() -> None:
    log = Log(10 * (1000 + ENTRY_OVERHEAD))
    link = HostLink(max_message_bytes=100_000, log=log, patience=1.0)
    good, slow = admitted(link, hello(b"good")), admitted(link, hello(b"slow"))
    bulk = pack(Channel.IOPUB, WireMessage([bytes(980)]))
    for _ in range(10):
        assert link.in_the_way(bulk.size) == []
        log.append(bulk)
    assert set(link.in_the_way(bulk.size)) == {good, slow}
    while good.feed.pull():
        pass
    assert link.in_the_way(bulk.size) == [slow]
    assert link.patience_with([slow]) == 0.5
    link.waited([slow], 0.5)
    assert slow.feed.pull()
    assert link.in_the_way(bulk.size) == []  # no more than one has to go
    log.append(bulk)
    assert link.in_the_way(bulk.size) == [slow]
    slow.peer.pong = 1
    link.waited([slow], link.patience_with([slow]))
    link.waited([slow], link.patience_with([slow]))
    assert link.in_the_way(bulk.size) == []


def test_who_takes_nothing_is_not_waited_for_again_before_it_does() -> None:
    log = Log(10 * (1000 + ENTRY_OVERHEAD))
    link = HostLink(max_message_bytes=100_000, log=log, patience=1.0)
    stuck = admitted(link, hello(b"stuck"))
    for _ in range(10):
        link.publish(WireMessage([bytes(1000)]))
    assert link.in_the_way(1000) == [stuck]
    link.waited([stuck], 1.0)
    for _ in range(100):
        link.publish(WireMessage([bytes(1000)]))
        assert link.in_the_way(1000) == []
    stuck.peer.receive(Status(Lane.D, 0, 10).encode(), NOW)
    assert link.in_the_way(1000) == [stuck]


def test_nothing_is_granted_to_a_client_that_the_host_has_no_room_for() -> None:
    link, line = host(), Line()
    line.connect(link)
    assert line.member is not None
    line.member.peer.into[1].room = False
    line.link.send(Channel.SHELL, WireMessage([b"request"]))
    line.settle()
    assert line.asked == []
    line.member.peer.into[1].room = True
    line.settle()
    assert line.asked == [(Channel.SHELL, b"request")]


def test_a_status_goes_with_the_first_frame() -> None:
    member = admitted(host(), hello())
    assert [type(each) for each in decode(member.peer.next_frame(NOW))] == [Status, Status]
