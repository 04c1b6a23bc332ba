"""What the package offers is what its entry point names."""

import kernelwire_inprocess
from kernelwire import registry


def test_the_public_name_is_the_entry_points() -> None:
    (entry,) = (entry for entry in registry.installed() if entry.name == "inprocess")
    module, _, attribute = entry.value.partition(":")
    assert module == kernelwire_inprocess.__name__
    assert kernelwire_inprocess.__all__ == [attribute]
    assert hasattr(kernelwire_inprocess, attribute)
