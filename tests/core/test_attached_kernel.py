"""What can be done for a kernel that was not started here."""

import pytest

from integration._kernels import real_kernel
from kernelwire.attached_kernel import AttachedKernel, check_host
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import NotSupported, RequestTimeout

PATIENCE = 60.0


async def test_it_is_asked_by_messages() -> None:
    async with real_kernel() as kernel:
        attached = AttachedKernel(kernel.info)
        await attached.open()
        assert not attached.is_ours
        await attached.interrupt(PATIENCE)
        with pytest.raises(NotSupported, match="whoever started it"):
            await attached.restart(now=False)
        await attached.shutdown(now=False, restart=False, timeout=PATIENCE)
        await kernel.running.wait()
        await attached.aclose()


async def test_nobody_there() -> None:
    attached = AttachedKernel(ConnectionInfo(transport="tcp", ip="127.0.0.1", control_port=9, key=b"k"))
    with pytest.raises(RequestTimeout):
        await attached.interrupt(0.1)


def test_what_is_no_host() -> None:
    with pytest.raises(NotSupported, match="RemoteHost"):
        check_host("host.ticket", {})
