"""A package, so that mypy does not take it for the one that it tests."""
