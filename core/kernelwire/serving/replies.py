"""The contents of replies: from what an object's methods return, and from what they raise."""

import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from kernelwire.serving.definition import Definition, as_mapping

Content = Mapping[str, Any]

ABORTED: Final = {"status": "aborted"}

_HERE: Final = str(Path(__file__).parent)


class Interrupted(Exception):
    """A method was cancelled by an interrupt_request."""


class Exited(Exception):
    """A method raised SystemExit."""


def failure(error: BaseException) -> dict[str, Any]:
    """The fields of an error: what it is, what it says, and where it came from, without our own part of that."""
    if isinstance(error, Interrupted):
        return {"ename": "KeyboardInterrupt", "evalue": "", "traceback": ["KeyboardInterrupt"]}
    if isinstance(error, Exited):
        return {"ename": "SystemExit", "evalue": str(error), "traceback": [f"SystemExit: {error}"]}
    try:
        value = str(error)
    except Exception:  # noqa: BLE001 - the object's code
        value = ""
    try:
        lines = traceback.format_exception(type(error), error, _without_ours(error.__traceback__))
    except Exception:  # noqa: BLE001 - likewise
        lines = [type(error).__name__]
    text = "".join(lines).rstrip("\n")
    return {"ename": type(error).__name__, "evalue": value, "traceback": text.split("\n")}


def failed(error: BaseException) -> dict[str, Any]:
    """The content of a reply to a request that failed."""
    return {"status": "error", **failure(error)}


def unknown(msg_type: str, problem: str = "this kernel does not know that request") -> dict[str, Any]:
    """The content of a reply to a request that nobody here answers."""
    return {"status": "error", "ename": "NotImplementedError", "evalue": f"{msg_type}: {problem}", "traceback": []}


async def completions(definition: Definition, content: Content) -> Content:
    """For a complete_request."""
    code, position = _cursor(content)
    reply = {"status": "ok", "matches": [], "cursor_start": position, "cursor_end": position, "metadata": {}}
    if (method := definition.method("complete")) is not None:
        reply |= as_mapping("complete", await method(code, position))
    return reply


async def inspection(definition: Definition, content: Content) -> Content:
    """For an inspect_request."""
    code, position = _cursor(content)
    detail_level = content.get("detail_level", 0)
    reply: dict[str, Any] = {"status": "ok", "found": False, "data": {}, "metadata": {}}
    if (method := definition.method("inspect")) is not None:
        found = await method(code, position, detail_level if isinstance(detail_level, int) else 0)
        if found is not None:
            reply |= {"found": True, **as_mapping("inspect", found)}
    return reply


async def completeness(definition: Definition, content: Content) -> Content:
    """For an is_complete_request."""
    if (method := definition.method("is_complete")) is None:
        return {"status": "unknown"}
    answer = await method(_code(content))
    return {"status": answer} if isinstance(answer, str) else {"status": "unknown", **as_mapping("is_complete", answer)}


async def history(definition: Definition, content: Content) -> Content:
    """For a history_request."""
    if (method := definition.method("history")) is None:
        return {"status": "ok", "history": []}
    answer = await method(content)
    if isinstance(answer, Mapping):
        return {"status": "ok", "history": [], **answer}
    return {"status": "ok", "history": list(answer)}


ANSWERS: Final = {
    "complete_request": completions,
    "inspect_request": inspection,
    "is_complete_request": completeness,
    "history_request": history,
}
"""Requests on shell that one method of the object answers."""


def _cursor(content: Content) -> tuple[str, int]:
    code = _code(content)
    position = content.get("cursor_pos")
    if not isinstance(position, int) or not 0 <= position <= len(code):
        position = len(code)
    return code, position


def _code(content: Content) -> str:
    code = content.get("code", "")
    if not isinstance(code, str):
        raise TypeError(f"code: {type(code).__name__} where text is needed")
    return code


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    return trace
