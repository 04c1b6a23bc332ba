"""IPython's shell for a kernel that lives in a process of somebody else: it takes nothing over but its namespace."""

import atexit
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from IPython.core import page
from IPython.core.builtin_trap import BuiltinTrap
from IPython.core.display_trap import DisplayTrap
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from traitlets import Any as AnyTrait
from traitlets import Type
from traitlets.config import Config

Put = Callable[..., None]
"""Publishes: a message's type, its content, and about how many bytes that holds."""


class KernelDisplayHook(DisplayHook):  # type: ignore[misc] # IPython is hardly typed
    """Publishes values as execute_result."""

    _bundle: tuple[Mapping[str, Any], Mapping[str, Any] | None] | None = None

    def start_displayhook(self) -> None:
        """Nothing is known yet."""
        self._bundle = None

    def write_output_prompt(self) -> None:
        """The message has its number."""

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        """Keep what is to be shown."""
        self._bundle = format_dict, md_dict

    def finish_displayhook(self) -> None:
        """Publish it."""
        if self._bundle is not None and self._bundle[0]:
            data, metadata = self._bundle
            content = {
                "execution_count": self.shell.prompt_number,
                "data": dict(data),
                "metadata": dict(metadata or {}),
            }
            self.shell.put("execute_result", content, _size(data))
        self._bundle = None


class KernelDisplayPublisher(DisplayPublisher):  # type: ignore[misc] # IPython is hardly typed
    """Publishes what is displayed."""

    def publish(
        self,
        data: Any,
        metadata: Any = None,
        source: Any = None,
        *,
        transient: Any = None,
        update: bool = False,
        **_: Any,
    ) -> None:
        self._validate_data(data, metadata)
        content = {"data": dict(data), "metadata": dict(metadata or {}), "transient": dict(transient or {})}
        self.shell.put("update_display_data" if update else "display_data", content, _size(data))

    def clear_output(self, wait: bool = False) -> None:
        self.shell.put("clear_output", {"wait": wait})


class _NoBuiltinTrap(BuiltinTrap):  # type: ignore[misc] # IPython is hardly typed
    """Leaves the process's builtins alone: other code runs at the same time."""

    def activate(self) -> None:
        """Nothing."""

    def deactivate(self) -> None:
        """Nothing."""


class _NoDisplayTrap(DisplayTrap):  # type: ignore[misc] # IPython is hardly typed
    """Leaves ``sys.displayhook`` alone, which routes values already."""

    def set(self) -> None:
        """Nothing."""

    def unset(self) -> None:
        """Nothing."""


class KernelShell(InteractiveShell):  # type: ignore[misc] # IPython is hardly typed
    """A shell that publishes.

    Attributes:
        put: publishes for the code that runs.
        prompt_number: of the code that runs.
        failure: the error that it published last.
    """

    displayhook_class = Type(KernelDisplayHook)
    display_pub_class = Type(KernelDisplayPublisher)
    put: Any = AnyTrait()
    prompt_number = 1
    failure: dict[str, Any] | None = None

    @classmethod
    def make(cls, put: Put, user_ns: dict[str, Any]) -> "KernelShell":
        """A new shell, which is not the process's. To be closed in the end."""
        config = Config()
        config.HistoryManager.hist_file = ":memory:"  # the user's own file is for the user's own kernels
        shell: KernelShell = cls(put=put, user_ns=user_ns, config=config)
        return shell

    def close(self) -> None:
        """Let go of what it holds; its namespace stays as it is."""
        atexit.unregister(self.atexit_operations)
        with contextlib.suppress(Exception):  # a shell that the user's code has broken ends too
            self.history_manager.end_session()
            self.history_manager.db.close()
        self.events.callbacks.clear()

    def init_sys_modules(self) -> None:
        """``__main__`` is the program that this process runs."""

    def init_virtualenv(self) -> None:
        """The program has chosen its path."""

    def init_builtins(self) -> None:
        """None are added; see `init_user_ns`."""
        self.builtin_trap = _NoBuiltinTrap(shell=self)

    def init_user_ns(self) -> None:
        """What others find in the builtins is in the namespace."""
        super().init_user_ns()
        self.user_ns.setdefault("display", display)
        self.user_ns_hidden.setdefault("display", display)

    def init_displayhook(self) -> None:
        super().init_displayhook()
        self.display_trap = _NoDisplayTrap(hook=self.displayhook)

    def init_hooks(self) -> None:
        """Pages go to the client."""
        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(self._show_page), 99)

    def _show_page(self, text: Any, start: int = 0, screen_lines: int = 0, pager_cmd: Any = None) -> None:
        data = text if isinstance(text, dict) else {"text/plain": text}
        self.payload_manager.write_payload({"source": "page", "data": data, "start": max(0, start)})

    def set_next_input(self, text: str, replace: bool = False) -> None:
        self.payload_manager.write_payload({"source": "set_next_input", "text": text, "replace": replace})

    def ask_exit(self) -> None:
        """Tell the client, which decides."""
        self.payload_manager.write_payload({"source": "ask_exit", "keepkernel": False})

    def enable_gui(self, gui: Any = None) -> None:
        """There is no event loop of a GUI here; inline needs none."""
        if gui not in (None, "inline"):
            raise UsageError(f"{gui}: an in-process kernel runs no event loop of a GUI")

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        self.failure = {"ename": etype.__name__, "evalue": str(evalue), "traceback": list(stb)}
        self.put("error", self.failure)


def _size(data: Mapping[str, Any]) -> int:
    return sum(len(value) for value in data.values() if isinstance(value, str | bytes))
