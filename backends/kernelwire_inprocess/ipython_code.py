"""What IPython does for each request, in the kernel's thread."""

import builtins
import contextlib
import sys
from collections.abc import Mapping
from typing import Any, Final, Self

import IPython
from IPython.core.completer import provisionalcompleter, rectify_completions
from IPython.core.interactiveshell import InteractiveShell, _asyncio_runner
from IPython.utils.tokenutil import token_at_cursor
from traitlets.config import SingletonConfigurable

from kernelwire.serving import Run
from kernelwire_inprocess.ipython_shell import KernelShell
from kernelwire_inprocess.routing import Installation, current, installation

_TYPES: Final = "_jupyter_types_experimental"


class Code:
    """One shell. All of it is to be used in its own thread, except for `execution_count`.

    Arguments:
        shell: the shell.

    Attributes:
        shell: as given.
        comm_manager: the comms of the `comm` package; None where that is not installed.
    """

    def __init__(self, shell: KernelShell) -> None:
        self.shell = shell
        try:
            from comm.base_comm import CommManager
        except ImportError:
            self.comm_manager: Any = None
        else:
            self.comm_manager = CommManager()

    @classmethod
    async def make(cls, user_ns: dict[str, Any]) -> Self:
        """A new shell."""
        installation.extend("ipython", _install)
        return cls(KernelShell.make(_put, user_ns))

    async def close(self) -> None:
        """The shell's end."""
        self.shell.close()

    @property
    def execution_count(self) -> int:
        """The number of the next prompt."""
        return int(self.shell.execution_count)

    async def execute(self, code: str, run: Run) -> dict[str, Any]:
        """Run a cell; `failure` is what was published of an error, `reply` what else belongs into the reply."""
        shell = self.shell
        shell.failure = None
        shell.prompt_number = run.execution_count
        result = await self._run_cell(code, run)
        error = result.error_before_exec or result.error_in_exec
        failure = shell.failure if error is not None else None
        reply: dict[str, Any] = {"payload": shell.payload_manager.read_payload()}
        shell.payload_manager.clear_payload()
        if error is None:
            reply["user_expressions"] = shell.user_expressions(dict(run.user_expressions))
            return {"failure": None, "reply": reply}
        unseen = {"ename": type(error).__name__, "evalue": str(error), "traceback": []}
        return {"failure": failure, "error": unseen, "reply": reply}

    async def complete(self, code: str, cursor_pos: int) -> Mapping[str, Any]:
        """As the kernel's method, like all of these."""
        with provisionalcompleter():
            found = list(rectify_completions(code, self.shell.Completer.completions(code, cursor_pos)))
        types = [
            {"start": each.start, "end": each.end, "text": each.text, "type": each.type, "signature": each.signature}
            for each in found
        ]
        return {
            "matches": [each.text for each in found],
            "cursor_start": found[0].start if found else cursor_pos,
            "cursor_end": found[0].end if found else cursor_pos,
            "metadata": {_TYPES: types},
        }

    async def inspect(self, code: str, cursor_pos: int, detail_level: int) -> Mapping[str, Any] | None:
        """Likewise."""
        name = token_at_cursor(code, cursor_pos)
        try:
            data = dict(self.shell.object_inspect_mime(name, detail_level=detail_level))
        except KeyError:
            return None
        if not self.shell.enable_html_pager:
            data.pop("text/html", None)
        return {"data": data}

    async def is_complete(self, code: str) -> Mapping[str, Any]:
        """Likewise."""
        status, indent = self.shell.input_transformer_manager.check_complete(code)
        return {"status": status, **({"indent": " " * (indent or 0)} if status == "incomplete" else {})}

    async def history(self, request: Mapping[str, Any]) -> list[Any]:
        """Likewise."""
        manager = self.shell.history_manager
        how = {"raw": bool(request.get("raw", True)), "output": bool(request.get("output", False))}
        match request.get("hist_access_type"):
            case "tail":
                return list(manager.get_tail(request.get("n") or 10, include_latest=True, **how))
            case "search":
                unique = bool(request.get("unique", False))
                pattern = str(request.get("pattern") or "*")
                return list(manager.search(pattern, n=request.get("n"), unique=unique, **how))
            case "range":
                session, start = request.get("session") or 0, request.get("start") or 0
                return list(manager.get_range(session, start, request.get("stop"), **how))
        return []

    async def on_comm(self, name: str, message: dict[str, Any]) -> None:
        """A comm message came."""
        getattr(self.comm_manager, name)(None, None, message)

    async def _run_cell(self, code: str, run: Run) -> Any:
        shell = self.shell
        problem: Any = None
        try:
            cell = shell.transform_cell(code)
        except Exception:  # noqa: BLE001 - IPython shows it
            cell, problem = code, sys.exc_info()
        how = {"store_history": run.store_history, "silent": run.silent}
        if shell.loop_runner is not _asyncio_runner:
            return shell.run_cell(code, **how)  # the user has chosen another runner
        result = None
        try:
            result = await shell.run_cell_async(code, transformed_cell=cell, preprocessing_exc_tuple=problem, **how)
        finally:
            shell.events.trigger("post_execute")
            if not run.silent:
                shell.events.trigger("post_run_cell", result)
        return result


def _put(*arguments: Any, **options: Any) -> None:
    route: Any = current.get()
    if route is not None:
        route.put(*arguments, **options)


def _install(installation: Installation) -> None:
    """Have IPython's own functions, and `comm`, find the shell whose code runs."""
    instance = vars(SingletonConfigurable)["instance"].__func__
    initialized = vars(SingletonConfigurable)["initialized"].__func__

    def routed_instance(cls: type[Any], *arguments: Any, **options: Any) -> Any:
        shell = getattr(current.get(), "shell", None)
        return shell if isinstance(shell, cls) else instance(cls, *arguments, **options)

    def routed_initialized(cls: type[Any]) -> bool:
        return isinstance(getattr(current.get(), "shell", None), cls) or bool(initialized(cls))

    installation.replace(InteractiveShell, "instance", classmethod(routed_instance))
    installation.replace(InteractiveShell, "initialized", classmethod(routed_initialized))
    installation.replace(builtins, "get_ipython", IPython.get_ipython)
    with contextlib.suppress(ImportError):
        from kernelwire_inprocess import ipython_comms

        ipython_comms.install(installation)
