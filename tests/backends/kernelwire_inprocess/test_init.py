"""What the package offers is what its entry point names."""

import subprocess
import sys

import kernelwire_inprocess
from kernelwire import registry


def test_the_public_name_is_the_entry_points() -> None:
    (entry,) = (entry for entry in registry.installed() if entry.name == "inprocess")
    module, _, attribute = entry.value.partition(":")
    assert module == kernelwire_inprocess.__name__
    assert kernelwire_inprocess.__all__ == ["IPythonKernel", attribute, "ipython"]
    for name in kernelwire_inprocess.__all__:
        assert getattr(kernelwire_inprocess, name).__doc__


def test_ipython_is_not_imported_before_it_is_served() -> None:
    script = "import kernelwire_inprocess, sys; print({'IPython', 'comm', 'traitlets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"
