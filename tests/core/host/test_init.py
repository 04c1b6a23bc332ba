"""The host's floor: who only uses kernels does not pay for it."""

import subprocess
import sys


def test_kernelwire_alone_imports_no_host() -> None:
    code = "import sys, kernelwire; sys.exit(any(name.startswith('kernelwire.host') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
