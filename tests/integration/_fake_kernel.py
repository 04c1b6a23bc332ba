"""A kernel in a process of its own that starts fast and behaves as badly as it is told to.

Run as a script: ``python _fake_kernel.py CONNECTION_FILE [BEHAVIOUR [MARK]]``. `fake` makes that command.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kernelwire import connection_file, registry
from kernelwire.ends import KernelEnd
from kernelwire.messages import Message
from kernelwire.session import Session
from kernelwire.testing.scripted import Run, ScriptedKernel

LAST_WORDS: Final = "I was not meant to live"
EXIT_CODE: Final = 3


def fake(behaviour: str = "good", mark: Path | str = "") -> list[str]:
    """The command of a kernel.

    Arguments:
        behaviour: ``good``; ``exits`` at start, with last words; ``taken`` does once, until there is a file `mark`,
            over a port that is in use; ``tcp only`` does on ipc; ``mute`` has last words, and never answers; ``deaf``
            does not end when it is asked to; ``stubborn`` neither on SIGTERM; ``message`` is interrupted by messages
            only; ``thorough`` does not end, even if it is asked to, before the code is done that it runs.
    """
    return [sys.executable, __file__, "{connection_file}", behaviour, str(mark)]


class FakeKernel(ScriptedKernel):
    """Ends after it has answered a shutdown_request. Code: ``pid``, ``cwd``, ``env NAME``, ``argv``, ``wait``, ``hang``
    (as ``wait``, but nothing interrupts it), ``die``, and ``quit``, which ends the kernel after its reply.
    """

    def __init__(self, end: KernelEnd, session: Session) -> None:
        super().__init__(end, session, self._execute_code)
        self.shut_down = asyncio.Event()
        self.at_rest = asyncio.Event()
        self.at_rest.set()

    async def publish(self, msg_type: str, content: Mapping[str, Any], parent: Message | None = None) -> None:
        await super().publish(msg_type, content, parent)
        if parent is not None and "idle" in content.values() and _is_last(parent):
            self.shut_down.set()

    async def _execute_code(self, run: Run) -> None:
        match run.code.split():
            case ["pid"]:
                await run.stream(str(os.getpid()))
            case ["cwd"]:
                await run.stream(str(Path.cwd()))
            case ["env", name]:
                await run.stream(os.environ.get(name, "-"))
            case ["argv"]:
                await run.stream(" ".join(sys.argv[4:]))
            case ["quit"]:
                await run.stream(LAST_WORDS)
            case ["wait"]:
                self.at_rest.clear()
                await run.stream("waiting")
                await self.interrupted.wait()
                self.interrupted.clear()
                self.at_rest.set()
                raise InterruptedError("interrupted")
            case ["hang"]:
                await run.stream("waiting")
                await asyncio.get_running_loop().create_future()
            case ["die"]:
                sys.stderr.write(LAST_WORDS)
                sys.stderr.flush()
                os._exit(EXIT_CODE)


def _is_last(request: Message) -> bool:
    return request.msg_type == "shutdown_request" or request.content.get("code") == "quit"


async def _main(path: str, behaviour: str, mark: str) -> None:
    loop = asyncio.get_running_loop()
    info = connection_file.read(path)
    if behaviour == "exits" or (behaviour == "tcp only" and info.transport != "tcp"):
        sys.exit(LAST_WORDS)
    if behaviour == "taken" and not Path(mark).exists():
        Path(mark).write_text(str(info.shell_port))
        sys.exit("ZMQError: Address already in use")
    if behaviour == "mute":
        sys.stderr.write(LAST_WORDS)
        sys.stderr.flush()
        await loop.create_future()
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    async with await registry.load(info.transport).serve(info) as end, FakeKernel(end, Session.of(info)) as kernel:
        if not behaviour.startswith("message"):
            loop.add_signal_handler(signal.SIGINT, kernel.interrupted.set)
        await kernel.shut_down.wait()
        if behaviour.endswith("thorough"):
            await kernel.at_rest.wait()
        if behaviour in ("deaf", "stubborn"):
            await loop.create_future()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], *[*sys.argv[2:], "good", ""][:2]))
