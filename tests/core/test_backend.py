"""The defaults of a backend, its claims, and what it accepts as an identity."""

import dataclasses
from collections.abc import Collection

import pytest

from kernelwire.backend import MAX_IDENTITY, Backend, Capabilities, check_identity
from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd
from kernelwire.errors import InvalidIdentity, NotSupported


class ClientOnly(Backend):
    capabilities = Capabilities(serve=False)

    async def connect(
        self, info: ConnectionInfo, *, identity: bytes, channels: Collection[Channel] = ALL_CHANNELS
    ) -> ClientEnd:
        return ClientEnd()


async def test_a_backend_owes_connect_only() -> None:
    assert Backend.__abstractmethods__ == {"connect"}
    backend = ClientOnly()
    info = ConnectionInfo(transport="mine")
    with pytest.raises(NotSupported, match="'mine'"):
        await backend.serve(info)
    assert backend.prepare(info) is info
    assert backend.for_clients(info) is info
    with pytest.raises(NotSupported, match="'mine' has no keys"):
        backend.encrypt(info)
    backend.release(info)
    await (await backend.connect(info, identity=b"a")).aclose()


def test_a_new_kernel_gets_a_key_unless_the_wire_shows_by_itself_who_sent() -> None:
    class Sealed(ClientOnly):
        capabilities = Capabilities(encrypted=True)

    keys = {ClientOnly().new_key() for _ in range(3)}
    assert len(keys) == 3
    assert all(len(key) >= 32 for key in keys)
    assert Sealed().new_key() == b""


def test_claims_cannot_be_changed() -> None:
    claims = Capabilities()
    for field in dataclasses.fields(claims):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(claims, field.name, None)
    assert hash(claims) == hash(Capabilities())
    assert claims != Capabilities(resume=True)


def test_nothing_is_claimed_by_default_but_what_every_wire_has() -> None:
    claims = Capabilities()
    assert (claims.serve, claims.signed, claims.multi_client) == (True, True, True)
    assert not any((claims.lossless_iopub, claims.gap_notice, claims.resume, claims.encrypted, claims.peer_events))
    assert claims.beat == "none"


@pytest.mark.parametrize("identity", [b"a", b"\xff" * MAX_IDENTITY, b"a\0b"])
def test_an_identity_may_be_any_bytes_that_zmq_can_route_by(identity: bytes) -> None:
    check_identity(identity)


@pytest.mark.parametrize("identity", [b"", b"\0", b"\0abcd", b"a" * (MAX_IDENTITY + 1)])
def test_other_identities_are_refused(identity: bytes) -> None:
    with pytest.raises(InvalidIdentity, match="1 to 64 bytes"):
        check_identity(identity)
