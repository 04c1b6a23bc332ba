"""Notebooks as immutable values: read, run cell by cell, written. Pure; what they look like is nbformat's business.

::

    notebook = notebooks.parse(path.read_bytes())
    for index in notebook.to_run:
        notebook = notebook.begun(index)
        notebook = notebook.after(index, messages)
        notebook = notebook.ended(index, reply)
    path.write_bytes(notebooks.render(notebook))

Source: the notebook format, https://nbformat.readthedocs.io/en/stable/format_description.html; for what becomes of a
cell that is run, and for tags, https://nbclient.readthedocs.io/en/stable/. Needs the extra ``kernelwire[run]``.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kernelwire.errors import ConfigurationError
from kernelwire.messages import Message
from kernelwire.outputs import Output, Outputs, display_id, fold, joined, update

SKIP: Final = "skip-execution"
"""The tag of a code cell that is not run."""

RAISES: Final = "raises-exception"
"""The tag of a code cell that may raise."""

_FORMAT: Final = 4
_LONGEST: Final = 200  # characters of what nbformat says is wrong
_JSON_TYPE: Final = re.compile(r"^application/(.*\+)?json$")


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        fields: the cell as nbformat has it. Not to be changed: it is shared.
        outputs: those of this run; None while it has not begun, and those in `fields` stay.
    """

    fields: Mapping[str, Any] = field(repr=False)
    outputs: Outputs | None = field(default=None, repr=False)

    @property
    def source(self) -> str:
        """Its text."""
        return str(self.fields["source"])

    @property
    def tags(self) -> frozenset[str]:
        """Its tags."""
        tags = self.fields["metadata"].get("tags")
        return frozenset(map(str, tags)) if isinstance(tags, list) else frozenset()

    @property
    def is_to_run(self) -> bool:
        """Whether it is code, not blank, and not tagged to be skipped."""
        return self.fields["cell_type"] == "code" and bool(self.source.strip()) and SKIP not in self.tags

    def begun(self) -> "Cell":
        """Running: what it showed before is gone."""
        metadata = {**self.fields["metadata"], "execution": {}}
        return Cell({**self.fields, "metadata": metadata, "execution_count": None}, Outputs())

    def after(self, message: Message) -> "Cell":
        """After a message that was published while it ran."""
        fields = self.fields
        if message.msg_type == "execute_input":
            fields = _timed(_counted(fields, message), "iopub.execute_input", message)
        return Cell(fields, fold(self.outputs or Outputs(), message))

    def updated(self, message: Message) -> "Cell":
        """After a message that was published for another cell: its displays of the same id have changed."""
        return self if self.outputs is None else Cell(self.fields, update(self.outputs, message))

    def ended(self, reply: Message) -> "Cell":
        """After its execute_reply."""
        return Cell(_timed(_counted(self.fields, reply), "shell.execute_reply", reply), self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """As nbformat has it."""
        if self.outputs is None:
            return dict(self.fields)
        return {**self.fields, "outputs": [_valid(item) for item in self.outputs.items]}


@dataclass(frozen=True)
class Notebook:
    """A notebook. Its methods return others.

    Attributes:
        fields: everything but the cells, as nbformat has it. Not to be changed: it is shared.
        cells: in order.
    """

    fields: Mapping[str, Any] = field(repr=False)
    cells: tuple[Cell, ...] = field(repr=False)

    @property
    def kernel_name(self) -> str | None:
        """The kernelspec that it asks for; None if it does not say."""
        name = self.fields["metadata"].get("kernelspec", {}).get("name")
        return name if isinstance(name, str) and name else None

    @property
    def to_run(self) -> tuple[int, ...]:
        """The indices of the cells to run."""
        return tuple(index for index, cell in enumerate(self.cells) if cell.is_to_run)

    def of_kernel(self, language_info: object, kernelspec: Mapping[str, str] | None = None) -> "Notebook":
        """With what a kernel says about its language, and the kernelspec it was started from, if that is to be kept."""
        metadata = dict(self.fields["metadata"])
        if isinstance(language_info, Mapping) and isinstance(language_info.get("name"), str):
            metadata["language_info"] = dict(language_info)
        if kernelspec is not None:
            metadata["kernelspec"] = dict(kernelspec)
        return replace(self, fields={**self.fields, "metadata": metadata})

    def begun(self, index: int) -> "Notebook":
        """With a cell that is running."""
        return self._with(index, self.cells[index].begun())

    def after(self, index: int, messages: Iterable[Message]) -> "Notebook":
        """With messages that were published while a cell ran.

        An update, and a second display of one id, change the displays of that id in all cells that were run.
        """
        cells = list(self.cells)
        for message in joined(messages):
            if display_id(message) is not None:
                cells = [each.updated(message) for each in cells]
            cells[index] = cells[index].after(message)
        return replace(self, cells=tuple(cells))

    def ended(self, index: int, reply: Message) -> "Notebook":
        """With a cell that has ended, and its execute_reply."""
        return self._with(index, self.cells[index].ended(reply))

    def _with(self, index: int, cell: Cell) -> "Notebook":
        return replace(self, cells=(*self.cells[:index], cell, *self.cells[index + 1 :]))


def parse(data: bytes) -> Notebook:
    """Read a notebook. One of an older major format is upgraded to 4; ids that are missing in it are filled in.

    Raises:
        ConfigurationError: it is not UTF-8, not JSON, not a notebook, not a valid one, or nbformat is not installed.
    """
    try:
        text = data.decode("utf-8-sig")
        fields = json.loads(text)
    except UnicodeDecodeError:
        raise ConfigurationError("not a notebook: not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"not a notebook: not JSON: {error}") from None
    except RecursionError:
        raise ConfigurationError("not a notebook: nested too deep") from None
    if not isinstance(fields, dict) or not ("nbformat" in fields or "worksheets" in fields):
        raise ConfigurationError("JSON, but not a notebook: it has no field 'nbformat'")
    nbformat = _nbformat()  # only now, because it is slow to come: two seconds where some optional packages are
    invalid: dict[str, Exception] = {}
    try:
        node = _quietly(nbformat.reads, text, _FORMAT, capture_validation_error=invalid)
    except Exception as error:  # noqa: BLE001 - what nbformat says to something that is no notebook is anything
        raise ConfigurationError(f"not a valid notebook: {_briefly(error)}") from None
    if invalid:
        raise ConfigurationError(f"not a valid notebook: {_briefly(invalid['ValidationError'])}")
    rest = {name: value for name, value in node.items() if name != "cells"}
    return Notebook(rest, tuple(map(Cell, node["cells"])))


def render(notebook: Notebook) -> bytes:
    """The notebook as nbformat writes it."""
    nbformat = _nbformat()
    node = nbformat.from_dict({**notebook.fields, "cells": [cell.to_dict() for cell in notebook.cells]})
    text = str(_quietly(nbformat.writes, node)) + "\n"
    # Half a surrogate pair has no form in UTF-8; as JSON writes it, which this does, it has.
    return text.encode("utf-8", "backslashreplace")


def _nbformat() -> Any:
    try:
        import nbformat  # here, because it takes 100 ms, and only who has a notebook needs it
    except ImportError as error:
        raise ConfigurationError(f"notebooks need nbformat: pip install 'kernelwire[run]' ({error})") from None
    return nbformat


def _quietly(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it mends by itself
        return function(*arguments, **options)


def _briefly(error: Exception) -> str:
    where = "".join(f"[{each!r}]" for each in getattr(error, "absolute_path", ()))
    said = str(getattr(error, "message", error)).strip().split("\n")[0]
    return f"{where + ': ' if where else ''}{said[:_LONGEST] or type(error).__name__}"


def _counted(fields: Mapping[str, Any], message: Message) -> Mapping[str, Any]:
    count = message.content.get("execution_count")
    return {**fields, "execution_count": count} if _is_count(count) else fields


def _timed(fields: Mapping[str, Any], event: str, message: Message) -> Mapping[str, Any]:
    if message.date is None:
        return fields
    timing = {**fields["metadata"].get("execution", {}), event: message.date.isoformat().replace("+00:00", "Z")}
    return {**fields, "metadata": {**fields["metadata"], "execution": timing}}


def _valid(output: Output) -> Output:
    """As the format wants it, whatever the kernel sent."""
    match output["output_type"]:
        case "stream":
            return {"output_type": "stream", "name": _text(output["name"], "stdout"), "text": _text(output["text"])}
        case "error":
            lines = output["traceback"]
            traceback = [_text(line) for line in lines] if isinstance(lines, list) else []
            names = {name: _text(output[name]) for name in ("ename", "evalue")}
            return {"output_type": "error", **names, "traceback": traceback}
    data = {mime: value if _JSON_TYPE.match(mime) else _text(value) for mime, value in _object(output["data"]).items()}
    shown = {"output_type": output["output_type"], "data": data, "metadata": _object(output["metadata"])}
    if shown["output_type"] == "execute_result":
        count = output["execution_count"]
        shown["execution_count"] = count if _is_count(count) else None
    return shown


def _text(value: object, default: str = "") -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return default if value is None else json.dumps(value)


def _object(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
