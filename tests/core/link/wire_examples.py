"""What stands on the wire, octet by octet: examples for the tests, and for docs/reference/link-wire-format.md."""

from typing import Final, NamedTuple

from kernelwire.channels import Channel
from kernelwire.errors import GapNotice
from kernelwire.link.envelope import Item
from kernelwire.link.records import (
    Beat,
    Beaten,
    Bye,
    Control,
    Data,
    Hello,
    Lost,
    Ping,
    Pong,
    Position,
    Ready,
    Reason,
    Status,
    Welcome,
)
from kernelwire.messages import WireMessage

SECRET: Final = bytes(range(32))
START: Final = (Position(0, 0), Position(0, 0))


class RecordExample(NamedTuple):
    """A record, and its octets in hexadecimal."""

    title: str
    record: Control | Data
    octets: str


class MessageExample(NamedTuple):
    """A message or gap of a lane, and its octets in hexadecimal."""

    title: str
    item: Item
    octets: str


RECORDS: Final = (
    RecordExample(
        "data: the last octets, `hello`, of message 1 on lane C",
        Data(0, 1, True, memoryview(b"hello")),
        "01 00000e 02 0000000000000001 68656c6c6f",
    ),
    RecordExample(
        "data: some octets, `hi`, of message 258 on lane D, of which more follow",
        Data(1, 258, False, memoryview(b"hi")),
        "01 00000b 01 0000000000000102 6869",
    ),
    RecordExample(
        "hello: of client `laptop`, which was never welcomed; its secret is the octets 0 to 31",
        Hello(b"laptop", SECRET, 0, START, None, 1),
        f"02 000036 97 01 c406 6c6170746f70 c420 {SECRET.hex()} 00 92 920000 920000 c0 01",
    ),
    RecordExample(
        "hello: the same client later; it has 3 messages on C, and 200 and 4,096 octets more on D",
        Hello(b"laptop", SECRET, 2**63, (Position(3, 0), Position(200, 4096)), 17, 2),
        f"02 000041 97 01 c406 6c6170746f70 c420 {SECRET.hex()} cf8000000000000000 92 920300 92ccc8cd1000 11 02",
    ),
    RecordExample(
        "welcome: session 5 begins, whose iopub begins at message 70 of the log",
        Welcome(5, False, START, 70),
        "02 00000c 95 02 05 c2 92 920000 920000 46",
    ),
    RecordExample(
        "welcome: session 5 goes on",
        Welcome(5, True, (Position(1, 0), Position(2, 3)), 70),
        "02 00000c 95 02 05 c3 92 920100 920203 46",
    ),
    RecordExample(
        "status: lane D, message 9 is handled, 1,048,576 octets may be sent",
        Status(1, 9, 1_048_576),
        "02 000009 94 03 01 09 ce00100000",
    ),
    RecordExample("ping: number 0", Ping(0), "02 000003 92 04 00"),
    RecordExample("pong: number 0", Pong(0), "02 000003 92 05 00"),
    RecordExample("beat: number 300", Beat(300), "02 000005 92 06 cd012c"),
    RecordExample("beaten: number 300", Beaten(300), "02 000005 92 07 cd012c"),
    RecordExample("bye: the client is refused, there is no room", Bye(Reason.FULL, ()), "02 000004 93 08 02 90"),
    RecordExample(
        "bye: the host closes; 12 messages of iopub of 300 octets together never came",
        Bye(Reason.CLOSED, (Lost(3, 12, 300),)),
        "02 00000a 93 08 00 91 93030ccd012c",
    ),
    RecordExample("ready", Ready(), "02 000002 91 09"),
)

MESSAGES: Final = (
    MessageExample(
        "a message on control, of 3 frames of 2, 0 and 1 octets",
        Item(Channel.CONTROL, WireMessage([b"ab", b"", b"c"])),
        "00000008 93 01 c400 93 020001 6162 63",
    ),
    MessageExample(
        "a message on iopub with topic `t`, of 1 frame of 2 octets",
        Item(Channel.IOPUB, WireMessage([b"ab"], b"t")),
        "00000007 93 03 c40174 91 02 6162",
    ),
    MessageExample(
        "a message on shell, of no frames",
        Item(Channel.SHELL, WireMessage([])),
        "00000005 93 00 c400 90",
    ),
    MessageExample(
        "a gap on iopub: 12 messages of 300 octets",
        Item(Channel.IOPUB, GapNotice(12, 300, "slow")),
        "0000000c 95 09 03 0c cd012c a4736c6f77",
    ),
    MessageExample(
        "a gap on stdin, nobody knows of how much",
        Item(Channel.STDIN, GapNotice(None, None, "lost")),
        "0000000a 95 09 02 c0 c0 a46c6f7374",
    ),
)
