"""Everything that kernelwire expects of a transport."""

from kernelwire.testing import BackendHarness, TransportConformance


class TestConformance(TransportConformance):
    """One test for each behaviour that is claimed, and one for each capability that is not."""

    harness = BackendHarness("recorder")
