"""What the simulator found in the link, each in as few steps as it takes."""

import pytest

from kernelwire.channels import Channel
from kernelwire.errors import GapNotice
from kernelwire.link.client import ClientLink, Joined
from kernelwire.link.envelope import Item, pack
from kernelwire.link.host import HostLink
from kernelwire.link.log import ENTRY_OVERHEAD, Log
from kernelwire.link.records import Lane
from kernelwire.link.resume import WINDOW, Outcome
from kernelwire.link.throttle import OWN
from kernelwire.messages import WireMessage

LIMIT = 10_000
REQUEST = WireMessage([b"run this once"])


def pair() -> tuple[ClientLink, HostLink]:
    return ClientLink(b"client", max_message_bytes=LIMIT), HostLink(max_message_bytes=LIMIT)


def dial(client: ClientLink) -> bytes:
    """A new connection's hello."""
    client.close()
    client.open(0.0)
    return client.next_frame(0.0)


def exchange(client: ClientLink, host: HostLink) -> list[object]:
    """All that both have to say; returns what happened at the host."""
    peer, events = host.members[b"client"].peer, list[object]()
    while (up := client.next_frame(0.0)) or (down := peer.next_frame(0.0)):
        if up:
            events += peer.receive(up, 0.0)
        else:
            client.receive(down, 0.0)
    return events


def test_a_hello_that_was_held_up_ends_no_session() -> None:
    client, host = pair()
    held_up = dial(client)
    client.receive(host.greet(dial(client), 0.0).answer, 0.0)
    client.send(Channel.SHELL, REQUEST)
    assert exchange(client, host) == [Item(Channel.SHELL, REQUEST)]
    member = host.members[b"client"]

    assert host.greet(held_up, 0.0).member is None
    assert host.members[b"client"] is member
    assert member.peer.up


def test_a_hello_that_was_held_up_takes_no_connection() -> None:
    client, host = pair()
    client.receive(host.greet(dial(client), 0.0).answer, 0.0)
    held_up = dial(client)
    client.receive(host.greet(dial(client), 0.0).answer, 0.0)

    assert host.greet(held_up, 0.0).member is None
    client.send(Channel.SHELL, REQUEST)
    assert exchange(client, host) == [Item(Channel.SHELL, REQUEST)]


def test_a_session_is_not_taken_for_the_one_before_it() -> None:
    client, host = pair()
    client.receive(host.greet(dial(client), 0.0).answer, 0.0)
    member = host.members[b"client"]
    client.receive(member.peer.next_frame(0.0), 0.0)  # credit
    client.send(Channel.SHELL, REQUEST)
    assert member.peer.receive(client.next_frame(0.0), 0.0) == [Item(Channel.SHELL, REQUEST)]

    host.forget(member)
    assert host.greet(dial(client), 0.0).is_new  # its welcome is lost on the way
    joined, *gaps = client.receive(host.greet(dial(client), 0.0).answer, 0.0)
    assert isinstance(joined, Joined)
    assert joined.outcome is Outcome.RESTART
    assert all(isinstance(gap, Item) and isinstance(gap.content, GapNotice) for gap in gaps)
    assert len(gaps) == 4
    assert exchange(client, host) == []


def test_a_publisher_knows_what_its_message_pushes_out_to_the_octet() -> None:
    """It once forgot the octets of the head."""
    body = WireMessage([bytes(1000)])
    payload = pack(Channel.IOPUB, body)
    for room in range(payload.size + ENTRY_OVERHEAD):
        host = HostLink(max_message_bytes=LIMIT, log=Log(2 * (payload.size + ENTRY_OVERHEAD) + room))
        client = ClientLink(b"client", max_message_bytes=LIMIT)
        client.receive(host.greet(dial(client), 0.0).answer, 0.0)
        for _ in range(2):
            assert not host.in_the_way(payload.size)
            host.publish(body)
        assert host.in_the_way(payload.size), f"{room} bytes of room"


def test_who_has_no_room_is_sent_nothing_over_any_number_of_connections() -> None:
    client, host = pair()
    client.peer.into[Lane.D].room = False
    for _ in range(3):
        client.receive(host.greet(dial(client), 0.0).answer, 0.0)
        host.publish(WireMessage([bytes(1000)]))
        exchange(client, host)
    assert client.peer.positions[Lane.D] == (0, 0)
    client.peer.into[Lane.D].room = True
    exchange(client, host)
    assert client.peer.positions[Lane.D] == (3, 0)


def test_who_has_no_room_has_nothing_to_say_in_the_middle_of_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WINDOW, Lane.D, OWN)  # so that the host goes to the end of it
    client, host = ClientLink(b"client", max_message_bytes=OWN), HostLink(max_message_bytes=LIMIT)
    client.receive(host.greet(dial(client), 0.0).answer, 0.0)
    exchange(client, host)  # credit
    peer = host.members[b"client"].peer
    host.publish(WireMessage([bytes(OWN - 1000)]))
    client.peer.into[Lane.D].room = False
    while client.peer.positions[Lane.D].offset < OWN * 3 // 4:
        client.receive(peer.next_frame(0.0), 0.0)
    assert not client.next_frame(0.0)
    assert not client.has_frame(0.0)


def test_who_has_room_again_says_so_to_a_sender_that_waits() -> None:
    """A sender keeps to less than the window: it once waited until somebody had something else to say."""
    client, host = pair()
    client.receive(host.greet(dial(client), 0.0).answer, 0.0)
    exchange(client, host)  # credit
    client.peer.into[Lane.D].room = False
    message = WireMessage([bytes(8_000)])
    for _ in range(2 * OWN // 8_000):
        host.publish(message)
    exchange(client, host)
    before = client.peer.positions[Lane.D]
    client.peer.into[Lane.D].room = True
    assert client.has_frame(0.0)
    exchange(client, host)
    assert client.peer.positions[Lane.D] > before
