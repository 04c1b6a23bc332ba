"""A kernel for tests of what blocks: another thread serves it."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final

from kernelwire import registry
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import KernelEnd
from kernelwire.messages import Message
from kernelwire.session import Session
from kernelwire.testing import Run, ScriptedKernel

PATIENCE: Final = 60.0
"""Seconds for anything that takes none on an idle machine."""


class ThreadedKernel:
    """A scripted kernel that a thread serves.

    Its script does as the code says: ``lines N``, ``ask PROMPT``, ``fail``, ``wait`` (until `go`), else it prints it.
    """

    def __init__(self, transport: str) -> None:
        self.entered = threading.Event()
        self._served: Future[tuple[asyncio.AbstractEventLoop, KernelEnd]] = Future()
        self._backend = registry.load(transport)
        self.info = self._backend.prepare(ConnectionInfo(transport=transport, key=b"a key for these tests"))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="scripted kernel")
        self._thread.start()
        self.loop, self.end = self._served.result(PATIENCE)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the kernel's loop, and wait until it has been."""
        called = threading.Event()

        def run() -> None:
            function(*args)
            called.set()

        self.loop.call_soon_threadsafe(run)
        assert called.wait(PATIENCE)

    def publish(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Publish a message that answers none."""
        asyncio.run_coroutine_threadsafe(self.scripted.publish(msg_type, content), self.loop).result(PATIENCE)

    def go(self) -> None:
        self.call(self._go.set)

    def beat(self, beating: bool) -> None:
        self.call(setattr, self.end, "beating", beating)

    def stop(self) -> None:
        self.call(self._stop.set)
        self._thread.join(PATIENCE)
        self._backend.release(self.info)

    async def _serve(self) -> None:
        self._go, self._stop = asyncio.Event(), asyncio.Event()
        async with await self._backend.serve(self.info) as end, self._scripted(end) as self.scripted:
            self._served.set_result((asyncio.get_running_loop(), end))
            await self._stop.wait()

    def _scripted(self, end: KernelEnd) -> ScriptedKernel:
        return ScriptedKernel(end, Session.of(self.info), self._run)

    async def _run(self, run: Run) -> Mapping[str, Any] | None:
        match run.code.split():
            case ["lines", number]:
                for n in range(int(number)):
                    await run.stream(f"{n}\n")
            case ["ask", prompt]:
                await run.stream("got " + await run.input(prompt))
            case ["fail"]:
                raise ZeroDivisionError("division by zero")
            case ["wait"]:
                await run.stream("waiting")
                self.entered.set()
                await self._go.wait()
            case _:
                await run.stream(run.code)
        return None


def texts(messages: Iterable[Message]) -> list[str]:
    """What was printed, message by message."""
    return [str(message.content["text"]) for message in messages]
