"""The table of capabilities is what the transports claim, and the class for pytest does what the page says."""

from pathlib import Path

from docs._capabilities import table
from kernelwire.testing import BackendHarness, TransportConformance

PAGE = Path(__file__).parents[2] / "docs/reference/capabilities.md"


class TestConformance(TransportConformance):
    harness = BackendHarness("ipc")


def test_the_table() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), "python tests/docs/_capabilities.py prints the new one"
