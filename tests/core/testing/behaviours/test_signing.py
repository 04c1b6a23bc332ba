"""Transports that make genuine what is not, or stop at what is not, and the behaviours that kill them."""

import itertools

import pytest

from kernelwire.errors import ConnectionLost
from kernelwire.messages import WireMessage
from kernelwire.session import Session
from kernelwire.signing import Signer
from kernelwire.testing import Hanging
from kernelwire.testing.harness import KEY

from ._mutants import Mutant, Receive, assert_killed, spoil_receive


def sign_everything(receive: Receive) -> Receive:
    """As a relay does that re-signs without having verified."""
    signer = Signer(KEY)

    async def spoilt() -> WireMessage:
        message = await receive()
        return WireMessage([signer.sign(message.frames[1:5]), *message.frames[1:]], message.peer)

    return spoilt


@pytest.mark.parametrize("name", ["an_absent_signature_is_dropped", "a_client_with_another_key_is_not_heard"])
def test_everything_is_signed_anew(name: str) -> None:
    assert_killed(Mutant(kernel=spoil_receive("shell", sign_everything)), name)


def test_changed_parts_are_signed_anew() -> None:
    # Not every change of a byte leaves JSON, but one of its four changed parts, or the wrong signature itself, will.
    assert_killed(Mutant(kernel=spoil_receive("shell", sign_everything)), "a_wrong_signature_is_dropped")


def test_every_message_is_made_a_new_one() -> None:
    def spoil(receive: Receive) -> Receive:
        signer, numbers = Signer(KEY), itertools.count()

        async def spoilt() -> WireMessage:
            message = await receive()
            if not signer.verify(message.frames[0], message.frames[1:5]):
                return message
            parts = [*message.frames[1:3], b'{"received":%d}' % next(numbers), message.frames[4]]
            return WireMessage([signer.sign(parts), *parts, *message.frames[5:]], message.peer)

        return spoilt

    assert_killed(Mutant(kernel=spoil_receive("shell", spoil)), "a_replayed_message_is_delivered_once")


def test_junk_breaks_the_wire() -> None:
    def spoil(receive: Receive) -> Receive:
        async def spoilt() -> WireMessage:
            message = await receive()
            if len(message.frames) < 5:
                raise ConnectionLost("this is no message")
            return message

        return spoilt

    assert_killed(Mutant(kernel=spoil_receive("shell", spoil)), "what_is_no_message_is_dropped", ConnectionLost)


@pytest.mark.parametrize("name", ["a_wrong_signature_is_dropped", "an_absent_signature_is_dropped"])
def test_a_forgery_silences_its_sender(name: str) -> None:
    def spoil(receive: Receive) -> Receive:
        session = Session(KEY)
        banned: set[bytes] = set()

        async def spoilt() -> WireMessage:
            while True:
                message = await receive()
                if message.peer not in banned:
                    if not session.signer.verify(message.frames[0], message.frames[1:5]):
                        banned.add(message.peer)
                    return message

        return spoilt

    assert_killed(Mutant(kernel=spoil_receive("shell", spoil)), name, Hanging, watchdog=0.5)
