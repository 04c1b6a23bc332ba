"""The list of the parts in the package's docstring."""

import re
from pathlib import Path

from kernelwire_socketio import relay


def test_it_names_every_part() -> None:
    named = set(re.findall(r"^ {4}(\w+)  ", relay.__doc__ or "", re.MULTILINE)) | {"limits", "log", "metrics", "server"}
    assert named == {path.stem for path in Path(relay.__file__).parent.glob("*.py")} - {"__init__"}
