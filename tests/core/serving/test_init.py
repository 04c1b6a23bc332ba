"""What a kernel's author imports."""

import kernelwire
from kernelwire import serving


def test_the_names() -> None:
    assert kernelwire.serve is serving.serve
    for name in ("KernelComm", "Run", "ServedKernel", "Service", "serve"):
        assert getattr(serving, name).__doc__
