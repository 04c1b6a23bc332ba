"""Whose output is this? What a process has once (``sys.stdout``, ``input``, ...), told apart by who runs.

While kernels run in this process, these names are replaced by others that look at a context variable: code that a
kernel runs, the threads that it starts and the callbacks that it leaves behind reach that kernel; everybody else
reaches what was there before. The last kernel to end puts that back.
"""

import builtins
import contextvars
import getpass
import io
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol, TextIO


class Route(Protocol):
    """Where the output of some code goes, and who answers its questions."""

    def write(self, name: str, text: str) -> None:
        """Take what was printed to ``stdout`` or ``stderr``."""

    def ask(self, prompt: str, password: bool) -> str:
        """Ask a question, and wait for the answer."""

    def display(self, value: object) -> None:
        """Show the value of an expression."""


current: "contextvars.ContextVar[Route | None]" = contextvars.ContextVar("kernelwire_route", default=None)
"""The route of the code that runs."""


_ABSENT: Final = object()


class Installation:
    """The names, replaced for as long as somebody holds this."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._undo: list[Callable[[], None]] = []
        self._extensions: set[str] = set()

    def hold(self) -> None:
        """Replace the names, unless they are."""
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._install()

    def release(self) -> None:
        """Put back what was there, if nobody else holds this. What somebody has replaced since stays as it is."""
        with self._lock:
            self._holders -= 1
            if not self._holders:
                while self._undo:
                    self._undo.pop()()
                self._extensions.clear()

    def extend(self, name: str, install: "Callable[[Installation], None]") -> None:
        """Have more names replaced, unless an extension of this name has been installed."""
        with self._lock:
            if name not in self._extensions:
                self._extensions.add(name)
                install(self)

    def replace(self, owner: object, name: str, ours: object) -> None:
        """Replace one attribute until the end."""
        before = vars(owner).get(name, _ABSENT)
        setattr(owner, name, ours)

        def undo() -> None:
            if vars(owner).get(name) is not ours:
                return
            if before is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)

        self._undo.append(undo)

    def _install(self) -> None:
        self.replace(sys, "stdout", RoutedStream("stdout", sys.stdout))
        self.replace(sys, "stderr", RoutedStream("stderr", sys.stderr))
        self.replace(builtins, "input", _routed_input(builtins.input))
        self.replace(getpass, "getpass", _routed_getpass(getpass.getpass))
        self.replace(sys, "displayhook", _routed_displayhook(sys.displayhook))
        self.replace(threading.Thread, "start", _routed_start(threading.Thread.start))
        hook = sys.excepthook  # IPython changes it while it runs code, and two shells may do so in any order

        def restore() -> None:
            sys.excepthook = hook

        self._undo.append(restore)


installation = Installation()
"""The process's own."""


class RoutedStream(io.TextIOBase):
    """A text stream that writes to the route of whoever writes.

    Arguments:
        name: ``stdout`` or ``stderr``.
        original: where everybody else's text goes.
    """

    def __init__(self, name: str, original: TextIO) -> None:
        self._name = name
        self._original = original
        self._process = os.getpid()

    def write(self, text: str) -> int:
        route = self._route
        if route is None:
            return self._original.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            route.write(self._name, text)
        return len(text)

    def flush(self) -> None:
        if self._route is None and self._original is not None:
            self._original.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._route is None and self._original.isatty()

    def fileno(self) -> int:
        if self._route is not None:
            raise io.UnsupportedOperation("fileno: this output goes to the clients of a kernel")
        return self._original.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8" if self._route is not None else self._original.encoding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    @property
    def _route(self) -> Route | None:
        # A forked child has the variable, but nobody who would carry what it writes.
        return current.get() if os.getpid() == self._process else None


def _routed_input(original: Callable[..., str]) -> Callable[..., str]:
    def routed_input(prompt: object = "", /) -> str:
        route = current.get()
        return original(prompt) if route is None else route.ask(str(prompt), False)

    return routed_input


def _routed_getpass(original: Callable[..., str]) -> Callable[..., str]:
    def routed_getpass(prompt: str = "Password: ", stream: Any = None, **options: Any) -> str:
        route = current.get()
        return original(prompt, stream, **options) if route is None else route.ask(prompt, True)

    return routed_getpass


def _routed_displayhook(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def routed_displayhook(value: object, /) -> None:
        route = current.get()
        if route is None:
            original(value)
        else:
            route.display(value)

    return routed_displayhook


def _routed_start(original: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    def start(thread: threading.Thread) -> None:
        route = current.get()
        if route is not None:
            run = thread.run

            def routed_run() -> None:
                current.set(route)
                run()

            thread.run = routed_run  # type: ignore[method-assign]
        original(thread)

    return start
