"""IPython as a kernel in this process: in a thread of its own, served like any other object.

::

    async with kernelwire_inprocess.ipython() as info:
        async with kernelwire.connect(info) as client:
            print(await client.execute("1 + 1"))
"""

import asyncio
import concurrent.futures
import contextlib
import sys
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from kernelwire.connection import ConnectionInfo
from kernelwire.errors import LaunchFailed, NotSupported
from kernelwire.messages import Message
from kernelwire.serving import KernelComm, Run, Service, serve
from kernelwire_inprocess.outbox import Item, Outbox, call_soon
from kernelwire_inprocess.routing import current, installation
from kernelwire_inprocess.worker import Exited, Interrupted, Worker

if TYPE_CHECKING:
    from kernelwire_inprocess.ipython_code import Code

R = TypeVar("R")

_INTERRUPTED: Final = {"ename": "KeyboardInterrupt", "evalue": "", "traceback": ["KeyboardInterrupt"]}


def ipython(
    user_ns: dict[str, Any] | None = None,
    connection: ConnectionInfo | str = "inprocess",
    *,
    allow_unsigned: bool = False,
) -> Service:
    """Serve an IPython kernel that runs in this process, off the caller's thread.

    Arguments:
        user_ns: its namespace, shared with the caller. A restart makes it what it is now.
        connection: as for :func:`kernelwire.serve`.
        allow_unsigned: likewise.

    Raises:
        LaunchFailed: IPython is not installed.
        as :func:`kernelwire.serve`.
    """
    return serve(IPythonKernel(user_ns), connection, allow_unsigned=allow_unsigned)


class IPythonKernel:
    """IPython for :func:`kernelwire.serve`, which enters and leaves it.

    What its code prints, shows and asks goes to its clients, with the threads that the code starts; the rest of the
    process does not notice. Interrupts take effect between bytecodes, so not within a call of C such as a long sleep.

    Arguments:
        user_ns: as for `ipython`.

    Raises:
        LaunchFailed: IPython is not installed.
    """

    implementation = "ipython"

    def __init__(self, user_ns: dict[str, Any] | None = None) -> None:
        try:
            version = metadata.version("ipython")  # it is imported in the kernel's thread
        except metadata.PackageNotFoundError:
            raise LaunchFailed("IPython is not installed: pip install 'kernelwire[ipython]'") from None
        self.implementation_version = version
        self.banner = f"Python {sys.version.split()[0]}, IPython {version}, in process"
        self.language_info: Mapping[str, Any] = {
            "name": "python",
            "version": sys.version.split()[0],
            "mimetype": "text/x-python",
            "codemirror_mode": {"name": "ipython", "version": sys.version_info[0]},
            "pygments_lexer": "ipython3",
            "nbconvert_exporter": "python",
            "file_extension": ".py",
        }
        self.help_links: list[dict[str, str]] = [
            {"text": "Python Reference", "url": "https://docs.python.org/3"},
            {"text": "IPython Reference", "url": "https://ipython.readthedocs.io"},
        ]
        self._user_ns = {} if user_ns is None else user_ns
        self._initial = dict(self._user_ns)
        self._name = f"kernelwire ipython {uuid.uuid4().hex[:8]}"
        self._generation: _Generation | None = None

    @property
    def execution_count(self) -> int:
        """The number of the next prompt."""
        return self._living.code.execution_count

    async def __aenter__(self) -> Self:
        installation.hold()
        try:
            self._generation = await _Generation.begin(self._name, self._user_ns)
        except BaseException:
            installation.release()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        generation, self._generation = self._generation, None
        try:
            if generation is not None:
                await generation.end()
        finally:
            installation.release()

    async def restart(self) -> None:
        """Another shell in another thread, with the namespace as it was at first."""
        await self._living.end()
        self._user_ns.clear()
        self._user_ns.update(self._initial)
        self._generation = await _Generation.begin(self._name, self._user_ns)

    async def interrupt(self) -> None:
        """KeyboardInterrupt in what runs."""
        self._living.worker.interrupt()

    async def execute(self, code: str, run: Run) -> None:
        """Run a cell."""
        living = self._living
        cell = living.code
        route = living.route(run.publish, run)
        try:
            outcome: Mapping[str, Any] = await living.call(lambda: cell.execute(code, run), route)
        except Interrupted:
            outcome = {"failure": None, "error": _INTERRUPTED}
        except Exited as exited:
            left = {"ename": "SystemExit", "evalue": str(exited.__cause__), "traceback": ["SystemExit"]}
            outcome = {"failure": None, "error": left}
        # All of its output before its reply.
        await living.outbox.flush()
        run.reply |= outcome.get("reply", {})
        run.failure = outcome["failure"]
        if run.failure is None and (error := outcome.get("error")) is not None:
            await run.error(error["ename"], error["evalue"], error["traceback"])

    async def complete(self, code: str, cursor_pos: int) -> Mapping[str, Any]:
        """Completions, by Jedi where IPython uses it."""
        return await self._ask(lambda cell: cell.complete(code, cursor_pos))

    async def inspect(self, code: str, cursor_pos: int, detail_level: int) -> Mapping[str, Any] | None:
        """Signature, docstring, source."""
        return await self._ask(lambda cell: cell.inspect(code, cursor_pos, detail_level))

    async def is_complete(self, code: str) -> Mapping[str, Any]:
        """Whether a cell would run as it is."""
        return await self._ask(lambda cell: cell.is_complete(code))

    async def history(self, request: Mapping[str, Any]) -> list[Any]:
        """Of this kernel, since its start."""
        return await self._ask(lambda cell: cell.history(request))

    async def comm_open(self, comm: KernelComm, message: Message) -> None:
        """For the targets that code has registered with the `comm` package."""
        await self._on_comm("comm_open", comm, message)

    async def comm_msg(self, comm: KernelComm, message: Message) -> None:
        """Likewise."""
        await self._on_comm("comm_msg", comm, message)

    async def comm_close(self, comm: KernelComm, message: Message) -> None:
        """Likewise."""
        await self._on_comm("comm_close", comm, message)

    async def _on_comm(self, name: str, comm: KernelComm, message: Message) -> None:
        living = self._living
        if living.code.comm_manager is None:
            await comm.close()
            return
        plain = {
            "header": dict(message.header),
            "parent_header": dict(message.parent_header),
            "metadata": dict(message.metadata),
            "content": dict(message.content),
            "buffers": list(message.buffers),
        }
        with contextlib.suppress(Interrupted):
            await living.call(lambda: living.code.on_comm(name, plain), living.route(comm.publish, None))
        await living.outbox.flush()

    async def _ask(self, work: "Callable[[Code], Coroutine[Any, Any, R]]") -> R:
        living = self._living
        return await living.call(lambda: work(living.code), living.quiet)

    @property
    def _living(self) -> "_Generation":
        if self._generation is None:
            raise NotSupported("this kernel is not served: give it to kernelwire.serve")
        return self._generation


class _Generation:
    """One shell and its thread, from one restart to the next."""

    code: "Code"

    def __init__(self, name: str) -> None:
        self.outbox = Outbox()
        self.worker = Worker(name)
        self.quiet = _Route(self, _unheard, None)
        self.ended = False
        self.questions: set[concurrent.futures.Future[str]] = set()
        self._loop = asyncio.get_running_loop()
        self._publishing = asyncio.create_task(self.outbox.run(), name=f"{name} publishing")
        self._asking: set[asyncio.Task[None]] = set()

    @classmethod
    async def begin(cls, name: str, user_ns: dict[str, Any]) -> Self:
        async def make() -> "Code":
            from kernelwire_inprocess.ipython_code import Code  # which takes a while

            return await Code.make(user_ns)

        generation = cls(name)
        try:
            generation.code = await generation.call(make, generation.quiet)
        except BaseException:
            await generation.end()
            raise
        return generation

    async def end(self) -> None:
        self.ended = True
        for question in tuple(self.questions):
            question.cancel()
        if hasattr(self, "code"):
            self.worker.interrupt()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self.call(self.code.close, self.quiet), 1)
        await self.worker.close()
        for task in (self._publishing, *self._asking):
            task.cancel()
        await asyncio.gather(self._publishing, *self._asking, return_exceptions=True)

    async def call(self, work: Callable[[], Coroutine[Any, Any, R]], route: "_Route") -> R:
        return await self.worker.call(work, lambda: current.set(route))

    def route(self, publish: Callable[..., Awaitable[None]], run: Run | None) -> "_Route":
        return _Route(self, publish, run)

    def ask(self, run: Run, prompt: str, password: bool) -> str:
        answer: concurrent.futures.Future[str] = concurrent.futures.Future()
        self.questions.add(answer)
        try:
            if self.ended or not call_soon(self._loop, self._begin_question, answer, run, prompt, password):
                raise EOFError("the kernel has ended")
            return self.worker.wait_for(answer)
        finally:
            answer.cancel()
            self.questions.discard(answer)

    def _begin_question(self, answer: "concurrent.futures.Future[str]", run: Run, prompt: str, password: bool) -> None:
        asking = asyncio.create_task(self._question(answer, run, prompt, password))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        answer.add_done_callback(lambda _: call_soon(self._loop, asking.cancel))

    async def _question(self, answer: "concurrent.futures.Future[str]", run: Run, prompt: str, password: bool) -> None:
        await self.outbox.flush()
        try:
            value = await run.input(prompt, password)
        except Exception as error:  # noqa: BLE001 - it is raised where the question was asked
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                answer.set_exception(error)
        else:
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                answer.set_result(value)


class _Route:
    """Where the output of one request goes."""

    def __init__(self, generation: _Generation, publish: Callable[..., Awaitable[None]], run: Run | None) -> None:
        self._generation = generation
        self._publish = publish
        self._run = run

    @property
    def shell(self) -> Any:
        """The kernel's shell; None while it is being made."""
        code = getattr(self._generation, "code", None)
        return None if code is None else code.shell

    @property
    def comm_manager(self) -> Any:
        """The kernel's comms."""
        code = getattr(self._generation, "code", None)
        return None if code is None else code.comm_manager

    def put(
        self, msg_type: str, content: Mapping[str, Any], size: int = 0, *, metadata: Any = None, buffers: Any = ()
    ) -> None:
        if self._publish is not _unheard:
            self._generation.outbox.put(Item(self._publish, msg_type, content, size, metadata, buffers))

    def write(self, name: str, text: str) -> None:
        self.put("stream", {"name": name, "text": text}, len(text))

    def ask(self, prompt: str, password: bool) -> str:
        run = self._run
        if run is None or not run.allow_stdin:
            from IPython.core.error import StdinNotImplementedError

            raise StdinNotImplementedError("whoever sent this request answers no questions")
        return self._generation.ask(run, prompt, password)

    def display(self, value: object) -> None:
        if self.shell is not None:
            self.shell.displayhook(value)


async def _unheard(*_: Any, **__: Any) -> None:
    pass
