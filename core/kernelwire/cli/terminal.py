"""Show a kernel's output on a terminal, and ask its user."""

import asyncio
import contextlib
import getpass
import os
import re
import sys
import threading
from collections.abc import Sequence
from typing import Final, TextIO

from kernelwire.cli.display import Folder, as_text, images_in, protocol
from kernelwire.execution import InputRequest
from kernelwire.messages import Message

_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


class Printer:
    """Prints messages: output on one stream, errors on the other. Colours only where a terminal shows them.

    Arguments:
        out: for what the code prints and displays.
        err: for its standard error and its errors.
        folder: where images are saved; None for nowhere. Those that the terminal can show are shown in any case.
    """

    def __init__(self, out: TextIO, err: TextIO, folder: Folder | None = None) -> None:
        self._out = out
        self._err = err
        self._folder = folder
        self._protocol = protocol(os.environ) if out.isatty() else None

    def show(self, message: Message) -> None:
        """Print one output message; errors are left to `show_error`, as the reply has them too."""
        content = message.content
        match message.msg_type:
            case "stream":
                to_error = content.get("name") == "stderr"
                _write(self._err if to_error else self._out, str(content.get("text", "")))
            case "execute_result" | "display_data" | "update_display_data":
                self._show_bundle(content.get("data"))

    def show_error(self, name: str, value: str, traceback: Sequence[str]) -> None:
        """Print an error with its traceback."""
        _write(self._err, "\n".join(traceback or [f"{name}: {value}"]) + "\n")

    def show_pages(self, payloads: object) -> None:
        """Print what a kernel has put into its reply for a pager: ipykernel does so for ``name?``."""
        for payload in payloads if isinstance(payloads, list) else []:
            if isinstance(payload, dict) and payload.get("source") == "page":
                _write(self._out, f"{as_text(payload.get('data'))}\n")

    def _show_bundle(self, bundle: object) -> None:
        images = list(images_in(bundle)) if self._protocol or self._folder else []
        inline = next(filter(None, map(self._protocol, images)), "") if self._protocol else ""
        if inline:
            self._out.write(f"{inline}\n")  # not as text, which may not have sequences
            self._out.flush()
        if images and self._folder:
            _write(self._out, f"{self._folder.save(images[0])}\n")
        elif not inline:
            _write(self._out, f"{as_text(bundle)}\n")


async def read_line(request: InputRequest) -> str:
    """Ask the user for a line; an input hook for :class:`kernelwire.client.KernelClient`.

    Raises:
        EOFError: standard input ended.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def settle(line: str | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(line or "")

    def read() -> None:
        line, error = None, None
        try:
            line = _read_blocking(request)
        except BaseException as failure:  # noqa: BLE001 - handed to the loop
            error = failure
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, line, error)

    # A daemon thread: nobody can interrupt a read from a terminal, and leaving must not wait for one.
    threading.Thread(target=read, name="kernelwire input", daemon=True).start()
    return await answer


def _read_blocking(request: InputRequest) -> str:
    if sys.stdin is None:  # the caller has closed it
        raise EOFError
    if request.password and sys.stdin.isatty():
        return getpass.getpass(request.prompt)
    # Standard output is for the code's output alone.
    print(request.prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


def _write(stream: TextIO, text: str) -> None:
    if not stream.isatty() or "NO_COLOR" in os.environ:
        text = _ANSI.sub("", text)
    # What the terminal's encoding cannot show must not end the program.
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
