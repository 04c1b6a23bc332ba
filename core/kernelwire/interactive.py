"""Code that runs elsewhere as if it ran here: its output is shown, and the user answers its questions."""

import asyncio
import contextlib
import contextvars
import functools
import getpass
import inspect
import os
import re
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TextIO

from kernelwire.errors import GapNotice, Incomplete, RequestTimeout
from kernelwire.execution import ExecuteResult, Execution, InputHook, InputRequest
from kernelwire.messages import Message

OutputHook = Callable[[Message], Awaitable[object] | object]
"""Takes an output message. What it returns is awaited if it can be."""

_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


async def follow(execution: Execution, output_hook: OutputHook, timeout: float | None) -> ExecuteResult:
    """Give each output message to the hook; return the result.

    Raises:
        as :meth:`kernelwire.KernelClient.execute_interactive`.
    """
    missing: GapNotice | None = None
    try:
        async with asyncio.timeout(timeout) as limit:
            while True:
                try:
                    async for message in execution:
                        shown = output_hook(message)
                        if inspect.isawaitable(shown):
                            await shown
                    break
                except GapNotice as notice:
                    missing = missing or notice
            result = await execution
    except TimeoutError:
        if not limit.expired():  # the hook's own
            raise
        raise too_long(timeout) from None
    return checked(result, missing)


def too_long(timeout: float | None) -> RequestTimeout:
    """What ends the wait for code that runs on."""
    return RequestTimeout(f"the code is not done within {timeout:g} s, and runs on: interrupt() ends what runs")


def checked(result: ExecuteResult, missing: GapNotice | None) -> ExecuteResult:
    """The result, if nothing is missing.

    Raises:
        Incomplete: something is.
    """
    if missing is None:
        return result
    error = Incomplete(str(missing))
    error.result = result
    raise error


def show(message: Message) -> None:
    """The output hook by default: streams and errors to standard output and standard error, displays as text.

    In IPython displays are shown as IPython shows its own, in a notebook with images and markup. Colours go where they
    are shown: to terminals, unless ``NO_COLOR`` is set, and to notebooks.
    """
    content = message.content
    match message.msg_type:
        case "stream":
            _write(sys.stderr if content.get("name") == "stderr" else sys.stdout, str(content.get("text", "")))
        case "error":
            lines = content.get("traceback") or [f"{content.get('ename')}: {content.get('evalue')}"]
            _write(sys.stderr, "\n".join(map(str, lines)) + "\n")
        case "execute_result" | "display_data" | "update_display_data":
            _display(message)
        case "clear_output":
            if (shell := _ipython()) is not None:
                shell.display_pub.clear_output(wait=bool(content.get("wait")))


async def ask(question: InputRequest, context: contextvars.Context | None = None) -> str:
    """The input hook by default: `ask_here` in a thread, so that the event loop goes on meanwhile.

    Nobody can end the reading: if the question goes away, the next line is still read for it.

    Arguments:
        question: the kernel's.
        context: the asker's, by which a notebook knows the cell to ask below; the caller's if not given.

    Raises:
        EOFError: as `ask_here`.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def settle(line: str, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(line)
        else:
            answer.set_exception(error)

    def read() -> None:
        line, error = "", None
        try:
            line = ask_here(question)
        except BaseException as failure:  # noqa: BLE001 - handed to the loop
            error = failure
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, line, error)

    # A copy, since the thread of an earlier question may still be in it. A daemon: leaving must not wait for the user.
    work = (context or contextvars.copy_context()).copy().run
    threading.Thread(target=work, args=(read,), name="kernelwire input", daemon=True).start()
    return await answer


def asker() -> InputHook:
    """`ask` for the caller, whoever calls it: a client calls its hooks in a task of its own, in another context."""
    return functools.partial(ask, context=contextvars.copy_context())


def ask_here(question: InputRequest) -> str:
    """Ask the user at the terminal, or in a notebook below its cell, and wait for the answer.

    Raises:
        EOFError: standard input has ended, or there is none.
    """
    try:
        return getpass.getpass(question.prompt) if question.password else input(question.prompt)
    except (RuntimeError, ValueError) as error:  # it is None, or closed, or a notebook without a user
        raise EOFError from error


def _display(message: Message) -> None:
    data = message.content.get("data")
    data = data if isinstance(data, Mapping) else {}
    shell = _ipython()
    if shell is not None:
        shell.display_pub.publish(
            data=dict(data),
            metadata=dict(message.content.get("metadata") or {}),
            transient=dict(message.content.get("transient") or {}),
            update=message.msg_type == "update_display_data",
        )
        return
    text = data.get("text/plain", f"<{', '.join(sorted(data))}>")
    _write(sys.stdout, ("".join(map(str, text)) if isinstance(text, list) else str(text)) + "\n")


def _ipython() -> Any:
    """The IPython that this runs in; None if it runs in none."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return None if get_ipython is None else get_ipython()


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # the process has none
        return
    in_notebook = hasattr(_ipython(), "kernel")
    if not in_notebook and (not stream.isatty() or "NO_COLOR" in os.environ):
        text = _ANSI.sub("", text)
    # What the terminal's encoding cannot show must not end the program.
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
