"""``python -m kernelwire.cli`` and the installed script are the same."""

import asyncio
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from kernelwire import cli


async def test_as_a_module(command: Any) -> None:
    code, out, _ = await command.run("--version")
    assert code == 0
    assert out.startswith("kernelwire ")


async def test_as_a_script() -> None:
    (entry,) = metadata.entry_points(group="console_scripts", name="kernelwire")
    assert entry.load() is cli.main
    script = Path(sys.executable).with_name("kernelwire")
    process = await asyncio.create_subprocess_exec(script, "nonsense", stderr=asyncio.subprocess.PIPE)
    _, err = await process.communicate()
    assert process.returncode == 2
    assert err.startswith(b"kernelwire: no command 'nonsense'")


def test_importing_it_runs_nothing() -> None:
    assert "kernelwire.cli.__main__" not in sys.modules
