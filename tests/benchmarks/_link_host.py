"""A host in a process of its own, on pipes over TCP: publishes as many messages as standard input asks for.

Prints its connection as one line of JSON; then a line for each burst, once that is in the host's log.
"""

import asyncio
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kernelwire.connection import ConnectionInfo
from kernelwire.link.backend import PipeBackend
from kernelwire.messages import WireMessage

if TYPE_CHECKING:
    from benchmarks import _kernel
else:
    import _kernel  # beside this script, from wherever it is run

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "tcp_pipe_backend.py"


def backend() -> PipeBackend:
    """Pipes over TCP, with a log for whole bursts: nobody waits for the client while one is published."""
    made: PipeBackend = runpy.run_path(str(EXAMPLE))["TcpPipeBackend"]()
    made.log_limit = 256 * 1024 * 1024
    return made


class Host:
    """A host that is running.

    Attributes:
        info: how to connect to it.
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self.info = ConnectionInfo.from_dict(json.loads(self._stdout.readline()))

    def publish(self, count: int) -> None:
        """Returns when they are published; blocks."""
        self._stdin.write(b"%d\n" % count)
        self._stdin.flush()
        assert self._stdout.readline()


@contextmanager
def running() -> Iterator[Host]:
    """A host, which ends with the block."""
    command = [sys.executable, str(Path(__file__).resolve())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Host(process)
        finally:
            process.kill()


async def serve() -> None:
    """Until whoever started this is gone."""
    pipes = backend()
    info = pipes.prepare(ConnectionInfo(transport="tcp-pipe", key=_kernel.KEY))
    published = WireMessage(_kernel.stream_frames(), _kernel.TOPIC)
    counts: asyncio.Queue[bytes] = asyncio.Queue()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), lambda: counts.put_nowait(os.read(0, 100)))
    async with await pipes.serve(info) as kernel:
        print(json.dumps(pipes.for_clients(info).to_dict()), flush=True)
        while count := await counts.get():
            for _ in range(int(count)):
                await kernel.iopub.send(published)
            print("published", flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
