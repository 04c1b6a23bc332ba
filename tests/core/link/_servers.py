"""What the tests of a host's end of a link share."""

import asyncio
from typing import Any

from kernelwire.channels import PeerEvent
from kernelwire.ends import KernelEnd
from kernelwire.link.records import (
    Control,
    Hello,
    Welcome,
    data_header,
    decode,
)
from kernelwire.link.resume import NOTHING
from kernelwire.link.sealed import SealedPipe

from ._pipes import (
    MemoryPipe,
    Network,
    ask,
)

SECRET = bytes(range(32))


def hello(identity: bytes = b"me", attempt: int = 1, epoch: int = 0, secret: bytes = SECRET) -> Hello:
    return Hello(identity, secret, epoch, NOTHING, None, attempt)


async def welcomed(network: Network, *args: Any) -> tuple[SealedPipe, Welcome]:
    """As a client made by hand, which the host lets in."""
    sealed_pipe, record = await ask(network, hello(*args))
    assert isinstance(record, Welcome)
    return sealed_pipe, record


async def until(sealed_pipe: SealedPipe, kind: type[Control]) -> Control:
    """The next record of a kind."""
    while True:
        for record in decode(await sealed_pipe.receive()):
            if isinstance(record, kind):
                return record


async def peer_event(kernel: KernelEnd) -> PeerEvent:
    assert kernel.peers is not None
    return await kernel.peers.receive()


def data(seq: int, number: int, *frames: bytes) -> bytes:
    """A record of lane D with a message on the channel of this number."""
    import msgpack

    head: bytes = msgpack.packb([number, b"", [len(each) for each in frames]])
    payload = len(head).to_bytes(4, "big") + head + b"".join(frames)
    return data_header(1, seq, len(payload), final=True) + payload


async def closed(pipes: list[MemoryPipe]) -> None:
    while not all(pipe.closings for pipe in pipes):
        await asyncio.sleep(0.001)
