"""What a link costs: its machines alone, with their seal, and a whole link over loopback TCP beside our own zmq.

The machines run in this process, frames handed over by hand, so that nothing but their own work is timed. The drains
read the same messages from another process, in turns within one run. Compare ratios, not times.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zmq

from kernelwire.channels import Channel
from kernelwire.errors import LinkViolation
from kernelwire.link import seal
from kernelwire.link.client import ClientLink
from kernelwire.link.framing import PREAMBLE, Deframer, frame
from kernelwire.link.host import HostLink, Member
from kernelwire.link.log import Log
from kernelwire.link.records import FRAME_LIMIT
from kernelwire.messages import WireMessage

if TYPE_CHECKING:
    from benchmarks import _command, _kernel, _link_host, raw_channels
else:
    import _command  # beside this script, from wherever it is run
    import _kernel
    import _link_host
    import raw_channels

SMALL_TARGET = 25.0
LARGE_TARGET = 500.0
DRAIN_TARGET = 0.5
LARGE = 1024 * 1024


@dataclass(frozen=True)
class Row:
    """One measure.

    Attributes:
        measure: what was measured; `unit` says in what.
        ours: median over all rounds.
        ours_p90: nine of ten are better; for rates, the worst tenth's bound.
        beside: the same of what it is compared with; None where the target is a number.
        ratio: median of the ratios of neighbouring rounds; likewise.
        target: what is to be reached.
        met: whether it is.
    """

    measure: str
    unit: str
    ours: float
    ours_p90: float
    beside: float | None
    ratio: float | None
    target: str
    met: bool


@dataclass(frozen=True)
class Size:
    """How much to measure."""

    rounds: int
    small: int
    large: int
    drains: int
    messages: int


FULL = Size(rounds=10, small=10_000, large=100, drains=7, messages=30_000)
QUICK = Size(rounds=2, small=500, large=5, drains=1, messages=1_000)


class Joined:
    """A host and a client that has joined it, each with its seal. Times are of the CPU, whatever else the machine does.

    Attributes:
        sending: seconds that the host took.
        taking: seconds that the client took.
    """

    def __init__(self) -> None:
        self.sending = self.taking = 0.0
        self._host = HostLink(max_message_bytes=2 * LARGE, log=Log(1024 * LARGE))
        self._client = ClientLink(b"benchmark", max_message_bytes=2 * LARGE)
        self._seals = _seals()
        self._deframers = Deframer(FRAME_LIMIT + seal.TAG_SIZE), Deframer(FRAME_LIMIT + seal.TAG_SIZE)
        for deframer in self._deframers:
            deframer.feed(PREAMBLE)
        self._client.open(0)
        admission = self._host.greet(self._client.next_frame(0), 0)
        assert admission.member is not None
        self._member: Member = admission.member
        self._client.receive(admission.answer, 0)

    def publish(self, message: WireMessage, count: int) -> None:
        """Publish a message so often, and bring all of them to the client, a batch at a time."""
        left, batch = count, max(1, 500_000 // message.size)
        clock = time.process_time
        while left:
            start = clock()
            for _ in range(min(batch, left)):
                self._host.publish(message)
            self.sending += clock() - start
            taken = self._exchange()
            assert taken == min(batch, left)
            left -= taken

    def _exchange(self) -> int:
        """Until both have nothing to say; how many messages came out."""
        clock = time.process_time
        count = 0
        while True:
            start = clock()
            plaintext = self._member.peer.next_frame(0)
            down = frame(self._seals[0].seal(plaintext)) if plaintext else b""
            middle = clock()
            if down:
                for data in self._deframers[1].feed(down):
                    count += _good(self._client.receive(self._seals[1].open(data), 0))
            plaintext = self._client.next_frame(0)
            up = frame(self._seals[1].seal(plaintext)) if plaintext else b""
            end = clock()
            self.sending += middle - start
            self.taking += end - middle
            if up:
                for data in self._deframers[0].feed(up):
                    _good(self._member.peer.receive(self._seals[0].open(data), 0))
            self.sending += clock() - end
            if not up and not down:
                return count


def _good(events: object) -> int:
    assert isinstance(events, list)
    assert not events or not isinstance(events[-1], LinkViolation), events
    return len(events)


def _seals() -> tuple[seal.Seal, seal.Seal]:
    """The host's and the client's."""
    private, secret = seal.new_private_key(), seal.new_secret()
    host = seal.Handshake.responder(secret=secret, private_key=private, prologue=b"")
    client = seal.Handshake.initiator(secret=secret, host_key=seal.public_key(private), prologue=b"")
    host.read(client.write())
    client.read(host.write())
    return host.split(), client.split()


def machines(size: Size) -> list[Row]:
    """What one message costs each end, batched as they are when there are many."""
    small = WireMessage(_kernel.stream_frames(), _kernel.TOPIC)
    large = WireMessage([*_kernel.stream_frames(), bytes(LARGE)], _kernel.TOPIC)
    out_us, in_us, out_mb, in_mb = [], [], [], []
    for _ in range(size.rounds + 1):
        joined = Joined()
        joined.publish(small, size.small)
        out_us.append(joined.sending / size.small * 1e6)
        in_us.append(joined.taking / size.small * 1e6)
        joined = Joined()
        joined.publish(large, size.large)
        out_mb.append(size.large * LARGE / joined.sending / 1e6)
        in_mb.append(size.large * LARGE / joined.taking / 1e6)
    return [
        _absolute("small message, out", "us", out_us[1:], SMALL_TARGET, at_most=True),
        _absolute("small message, in", "us", in_us[1:], SMALL_TARGET, at_most=True),
        _absolute("1 MiB message, out", "MB/s", out_mb[1:], LARGE_TARGET, at_most=False),
        _absolute("1 MiB message, in", "MB/s", in_mb[1:], LARGE_TARGET, at_most=False),
    ]


def _absolute(measure: str, unit: str, values: list[float], target: float, *, at_most: bool) -> Row:
    median = statistics.median(values)
    met = median <= target if at_most else median >= target
    p90 = raw_channels.p90(values, at_most)
    return Row(measure, unit, median, p90, None, None, f"{'<=' if at_most else '>='} {target:g}", met)


async def drains(size: Size) -> Row:
    """Receive a burst that was published while nobody read: over a link, and over zmq from a kernel of raw pyzmq."""
    with _link_host.running() as host, _kernel.running("tcp") as info:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            control = raw_channels.raw_socket(context, zmq.DEALER, info, "control_port")

            def publish_on_zmq(count: int) -> None:
                control.send(b"%d" % count)
                control.recv()

            async def over_link() -> float:
                channels = {Channel.IOPUB}
                async with await _link_host.backend().connect(host.info, identity=b"link", channels=channels) as end:
                    await end.iopub.ready()
                    return await _drain(end.iopub.receive, host.publish, size.messages)

            async def over_zmq() -> float:
                async with await raw_channels.connect(info) as end:
                    await end.iopub.ready()
                    await raw_channels.settle(end.iopub.receive)
                    return await _drain(end.iopub.receive, publish_on_zmq, size.messages)

            ours, beside = await raw_channels.in_turns(size.drains, over_link, over_zmq)
        finally:
            context.destroy(0)
    ratio = statistics.median(x / y for x, y in zip(ours, beside, strict=True))
    return Row(
        "iopub drain, TCP",
        "messages/s",
        statistics.median(ours),
        raw_channels.p90(ours, lower_is_better=False),
        statistics.median(beside),
        ratio,
        f">= {DRAIN_TARGET:g} x zmq",
        ratio >= DRAIN_TARGET,
    )


async def _drain(receive: Callable[[], Awaitable[WireMessage]], publish: Callable[[int], None], count: int) -> float:
    publish(count)  # blocks the loop, so that nothing is taken meanwhile
    start = time.perf_counter()
    for _ in range(count):
        await receive()
    return count / (time.perf_counter() - start)


def table(rows: list[Row]) -> str:
    """For people."""
    lines = [f"{'':20}{'unit':>12}{'ours':>10}{'p90':>10}{'zmq':>10}{'ratio':>8}  target"]
    for r in rows:
        beside = "-" if r.beside is None else f"{r.beside:,.0f}"
        ratio = "-" if r.ratio is None else f"{r.ratio:.2f}"
        verdict = r.target if r.met else f"{r.target}  missed"
        ours = "".join(f"{value:10,.{0 if value >= 100 else 1}f}" for value in (r.ours, r.ours_p90))
        lines.append(f"{r.measure:20}{r.unit:>12}{ours}{beside:>10}{ratio:>8}  {verdict}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""

    def measure(quick: bool) -> list[Row]:
        size = QUICK if quick else FULL
        return [*machines(size), asyncio.run(drains(size))]

    _command.run(__doc__, measure, table)


if __name__ == "__main__":
    main()
