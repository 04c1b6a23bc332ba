"""The command as a whole: mistakes of its user, and outputs that cannot be written."""

import asyncio
import shlex
import sys
from asyncio.subprocess import PIPE

import pytest

from kernelwire import cli

from .conftest import Command


def test_ctrl_c_before_anything_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_more: object) -> None:
            if name == "kernelwire.cli.dispatch":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "kernelwire.cli.dispatch", raising=False)
    monkeypatch.delattr(cli, "dispatch", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    monkeypatch.setattr("warnings.showwarning", None)
    assert cli.main(["--version"]) == cli.INTERRUPTED


@pytest.mark.parametrize("closed", [">&-", ">/dev/full", "2>&-"])
async def test_an_output_that_cannot_be_written_is_no_traceback(command: Command, closed: str) -> None:
    line = f"exec {shlex.quote(sys.executable)} -m kernelwire.cli backends {closed}"
    process = await asyncio.create_subprocess_shell(
        line, cwd=command.directory, env=command.environment, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    _, err = await process.communicate()
    assert b"Traceback" not in err
    if "full" in closed:
        assert process.returncode == 2
        assert err == b"kernelwire: No space left on device\n"
    else:
        assert process.returncode == 0
