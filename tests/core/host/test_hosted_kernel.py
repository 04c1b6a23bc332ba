"""A hosted kernel: written down before it answers, and let go without harm."""

import pytest

from kernelwire.errors import ConfigurationError, KernelDied
from kernelwire.host.hosted_kernel import HostedKernel
from kernelwire.processes import ProcessIdentity

from .conftest import Machine

PATIENCE = 60.0


async def test_it_is_known_as_soon_as_it_runs(machine: Machine) -> None:
    seen: list[HostedKernel] = []
    kernel = HostedKernel("k", lambda: seen.append(kernel), lease=5.0)
    assert kernel.record is None
    assert kernel.clients is None
    await kernel.host("good", "pipes", {}, env={"A": "1"})
    try:
        assert seen == [kernel]
        record = kernel.record
        assert record is not None
        assert kernel.pid is not None
        assert record.process == ProcessIdentity.of(kernel.pid)
        assert (record.kernel_name, record.env, record.lease, record.cwd) == ("good", {"A": "1"}, 5.0, None)
        await kernel.wait_ready(PATIENCE)
        assert kernel.clients == 0
        await kernel.let_go()
        assert not kernel.has_kernel
        assert record.is_running
        again = HostedKernel("k", lambda: None)
        await again.adopt(record)
        await again.wait_ready(PATIENCE)
        assert again.kernel_name == "good"
        kernel = again
    finally:
        await kernel.shutdown()
        kernel.forget()
    assert not record.is_running
    with pytest.raises(KernelDied, match="has ended"):
        await HostedKernel("k", lambda: None).adopt(record)


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_what_needs_no_host(transport: str, machine: Machine) -> None:
    with pytest.raises(ConfigurationError, match="needs no host"):
        await HostedKernel("k", lambda: None).host("good", transport, {})
