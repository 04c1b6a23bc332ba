"""Who listens, and who beats."""

from pathlib import Path
from typing import Any

import pytest

from kernelwire import registry
from kernelwire.cli.liveness import beats, nobody_listens
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import InvalidField, NotServed, UnknownTransport


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_a_kernel_that_is_there_and_one_that_is_not(transport: str, tmp_path_factory: Any) -> None:
    backend = registry.load(transport)
    ip = str(tmp_path_factory.mktemp("s") / "k") if transport == "ipc" else None
    info = backend.prepare(ConnectionInfo(transport=transport, ip=ip))
    assert await nobody_listens(info)
    assert await beats(info, 0.05) is False
    async with await backend.serve(info) as end:
        assert not await nobody_listens(info)
        assert await beats(info, 60) is True
        end.beating = False
        assert not await nobody_listens(info)
        assert await beats(info, 0.05) is False
    assert await nobody_listens(info)
    backend.release(info)


@pytest.mark.parametrize(
    "fields",
    [{"transport": "inprocess"}, {"transport": "tcp"}, {"transport": "ipc", "ip": "x" * 1000, "control_port": 1}],
)
async def test_where_it_is_not_known(fields: dict[str, Any]) -> None:
    assert not await nobody_listens(ConnectionInfo.from_dict(fields))


async def test_what_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(UnknownTransport):
        await beats(ConnectionInfo(transport="unheard-of"), 1)
    with pytest.raises(InvalidField):
        await beats(ConnectionInfo(), 1)
    with pytest.raises(NotServed):
        await beats(ConnectionInfo(transport="inprocess").replace(name="nobody"), 1)


async def test_a_wire_without_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    from kernelwire.channels import HeartbeatChannel
    from kernelwire.ends import ClientEnd
    from kernelwire.errors import NotSupported

    class Mute(HeartbeatChannel):
        async def beat(self, timeout: float) -> float:
            raise NotSupported("no heartbeat")

        async def aclose(self) -> None:
            pass

    class Silent:
        async def connect(self, *_args: Any, **_more: Any) -> ClientEnd:
            return ClientEnd(heartbeat=Mute())

    monkeypatch.setattr(registry, "load", lambda _name: Silent())
    assert await beats(ConnectionInfo(), 1) is None
