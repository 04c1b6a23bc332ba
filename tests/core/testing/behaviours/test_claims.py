"""Transports that claim more than they have, and the behaviours that kill them."""

import dataclasses
import itertools
from typing import Any

from kernelwire.channels import PeerEvent
from kernelwire.messages import WireMessage
from kernelwire.testing import BackendHarness

from ._mutants import Mutant, Receive, assert_killed, spoil_receive


def test_nobody_tells_the_kernel() -> None:
    def spoil(end: Any) -> None:
        end.peers = None

    assert_killed(Mutant(kernel=spoil), "the_kernel_learns_who_comes_and_goes")


def test_the_kernel_is_told_of_somebody_else() -> None:
    def spoil(end: Any) -> None:
        receive = end.peers.receive

        async def spoilt() -> PeerEvent:
            event = await receive()
            return PeerEvent(b"somebody", event.joined)

        end.peers.receive = spoilt

    assert_killed(Mutant(kernel=spoil), "the_kernel_learns_who_comes_and_goes")


def test_every_97th_publication_is_lost() -> None:
    def spoil(receive: Receive) -> Receive:
        numbers = itertools.count(1)

        async def spoilt() -> WireMessage:
            message = await receive()
            return await receive() if next(numbers) % 97 == 0 else message

        return spoilt

    assert_killed(Mutant(client=spoil_receive("iopub", spoil)), "a_fast_publisher_loses_nothing")


def test_a_claim_that_is_too_large() -> None:
    harness = BackendHarness("tcp")
    harness.capabilities = dataclasses.replace(harness.capabilities, peer_events=True)
    assert_killed(harness, "the_kernel_learns_who_comes_and_goes")
