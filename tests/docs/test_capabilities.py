"""The table of capabilities is what the transports claim."""

from pathlib import Path

from docs._capabilities import table

PAGE = Path(__file__).parents[2] / "docs/reference/capabilities.md"


def test_the_table() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), "python tests/docs/_capabilities.py prints the new one"
