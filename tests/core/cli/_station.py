"""Commands that start kernels: kernelspecs for them, a transport of somebody else's, and what is left of them."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from integration._fake_kernel import fake

from .conftest import Command, Done

WAITING = "kernelwire: waiting for the kernel to answer (Ctrl-C to give up)\n"

BACKENDS = """
from kernelwire_inprocess import InProcessBackend
from kernelwire_zmq import TcpBackend


class Wire(TcpBackend):
    pass


class Rooms(InProcessBackend):
    pass
"""
"""The backends of a distribution of somebody else's: `wire` reaches other processes, `rooms` does not."""


class Station(Command):
    """Commands, and everything that they leave anywhere.

    Attributes:
        runtime: the runtime directory.
        sockets: where ipc sockets are made.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.runtime = directory / "runtime"
        # Paths of sockets must be short.
        self.sockets = Path(tempfile.mkdtemp(prefix="kw-", dir="/tmp"))
        site = directory / "site"
        info = site / "foreign_wires-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-wires\nVersion: 1.0\n")
        names = "wire = foreign_wires:Wire\nrooms = foreign_wires:Rooms\n"
        (info / "entry_points.txt").write_text(f"[kernelwire.backends]\n{names}")
        (site / "foreign_wires.py").write_text(BACKENDS)
        self.environment |= {
            "PYTHONPATH": str(site),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(self.sockets),
            "JUPYTER_PATH": str(directory / "jupyter"),
            "IPYTHONDIR": str(directory / "ipython"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        for behaviour in ("good", "exits", "mute", "deaf", "stubborn"):
            self.install(behaviour, fake(behaviour))
        self.install("message", fake("message"), interrupt_mode="message")

    def install(self, name: str, argv: Sequence[str], **fields: Any) -> None:
        """A kernelspec; in the place of one of that name."""
        directory = self.directory / "jupyter" / "kernels" / name
        directory.mkdir(parents=True, exist_ok=True)
        fields = {"argv": list(argv), "display_name": f"The {name} one", "language": "fake", **fields}
        (directory / "kernel.json").write_text(json.dumps(fields))

    def uninstall(self, name: str) -> None:
        shutil.rmtree(self.directory / "jupyter" / "kernels" / name)

    async def end(self, process: asyncio.subprocess.Process, stdin: bytes = b"") -> Done:
        """Without the news that a kernel is waited for, which depends on how busy the machine is."""
        done = await super().end(process, stdin)
        return done._replace(err=done.err.replace(WAITING, ""))

    async def start_kernel(self, kernel: str = "good", *more: str) -> dict[str, Any]:
        """What ``kernelwire start --json`` prints."""
        done = await self.run("start", "--json", "--kernel", kernel, *more)
        assert (done.code, done.err) == (0, ""), done.err
        report = json.loads(done.out)
        assert isinstance(report, dict)
        return report

    async def say(self, file: str, code: str) -> str:
        """What code prints in a kernel."""
        done = await self.run("exec", "--connect", file, code)
        assert (done.code, done.err) == (0, "")
        return done.out.strip()

    async def stop(self, *files: str) -> Done:
        done = await self.run("stop", *files)
        assert (done.code, done.err) == (0, "")
        return done

    def alive(self) -> list[psutil.Process]:
        """Kernels and keepers: whatever has our runtime directory, and is no command that runs now."""
        commands = {process.pid for process in self.processes if process.returncode is None}
        found = []
        for process in psutil.process_iter():
            try:
                environment = process.environ()
            except (psutil.Error, OSError):
                continue
            if environment.get("JUPYTER_RUNTIME_DIR") == str(self.runtime) and process.pid not in commands:
                found.append(process)
        return found

    def left(self) -> list[str]:
        """Files and processes."""
        files = [*self.sockets.iterdir(), *(self.runtime.iterdir() if self.runtime.exists() else ())]
        return [str(path) for path in files] + [str(process) for process in self.alive()]

    async def close(self) -> list[str]:
        """End everything; what there was to end."""
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        left = self.left()
        while alive := self.alive():
            for orphan in alive:
                with suppress(psutil.Error):
                    orphan.kill()
            await asyncio.sleep(0.02)
        shutil.rmtree(self.sockets)
        return left
