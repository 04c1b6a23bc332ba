"""Output messages folded into the outputs of a cell, as a notebook keeps them: pure.

Source: the notebook format, https://nbformat.readthedocs.io/en/stable/format_description.html, section "Code cell
outputs"; "Messaging in Jupyter", messages on iopub: update_display_data, clear_output.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from kernelwire.messages import Message

Output = Mapping[str, Any]
"""One output of a code cell: ``output_type`` and the fields that belong to it. Not to be changed: it is shared."""

_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "stream": ("name", "text"),
    "display_data": ("data", "metadata"),
    "execute_result": ("data", "metadata", "execution_count"),
    "error": ("ename", "evalue", "traceback"),
}


_DISPLAYS: Final = frozenset({"display_data", "execute_result", "update_display_data"})


@dataclass(frozen=True)
class Outputs:
    """The outputs of a cell so far.

    Attributes:
        items: in the order of their first appearance.
        display_ids: the display id of each, or None.
        clears_next: whether the next output takes the place of all of them (``clear_output(wait=True)``).
    """

    items: tuple[Output, ...] = ()
    display_ids: tuple[str | None, ...] = ()
    clears_next: bool = False


def fold(outputs: Outputs, message: Message) -> Outputs:
    """The outputs after one more message.

    Text on one stream continues the output before it, if that is of the same stream. An update changes every display
    of its id, wherever it stands, and so does another display of that id. Messages that are no output change nothing.
    """
    if message.msg_type == "clear_output":
        return replace(outputs, clears_next=True) if message.content.get("wait") else Outputs()
    outputs = update(outputs, message)
    output = to_output(message)
    if output is None:
        return outputs
    if outputs.clears_next:
        outputs = Outputs()
    if outputs.items and _continues(outputs.items[-1], output):
        last = outputs.items[-1]
        longer = {**last, "text": last["text"] + output["text"]}
        return replace(outputs, items=(*outputs.items[:-1], longer))
    return Outputs((*outputs.items, output), (*outputs.display_ids, display_id(message)))


def fold_all(messages: Iterable[Message]) -> tuple[Output, ...]:
    """The outputs after all the messages of an execution."""
    return functools.reduce(fold, joined(messages), Outputs()).items


def joined(messages: Iterable[Message]) -> Iterator[Message]:
    """The same for `fold`, in less time: neighbours of one stream as one message, so that text is not copied again for
    each that follows.
    """
    for stream, group in itertools.groupby(messages, _stream):
        first, *others = group
        if stream is not None and others:
            content = {**first.content, "text": "".join(each.content["text"] for each in (first, *others))}
            first, others = Message(first.header, first.parent_header, first.metadata, content), []
        yield first
        yield from others


def update(outputs: Outputs, message: Message) -> Outputs:
    """The outputs after a message has changed the displays of its id, and nothing more."""
    shown = display_id(message)
    if shown is None or shown not in outputs.display_ids:
        return outputs
    new = {"data": message.content.get("data"), "metadata": message.content.get("metadata")}
    items = tuple(
        {**item, **new} if each == shown else item
        for item, each in zip(outputs.items, outputs.display_ids, strict=True)
    )
    return replace(outputs, items=items)


def display_id(message: Message) -> str | None:
    """The id of the displays that a message is one of, or updates; None if it has none."""
    transient = message.content.get("transient") if message.msg_type in _DISPLAYS else None
    found = transient.get("display_id") if isinstance(transient, Mapping) else None
    return found if isinstance(found, str) else None


def to_output(message: Message) -> Output | None:
    """The output that a message stands for by itself; None if it stands for none."""
    fields = _FIELDS.get(message.msg_type)
    if fields is None:
        return None
    return {"output_type": message.msg_type} | {name: message.content.get(name) for name in fields}


def _stream(message: Message) -> str | None:
    """The stream that a message has text for; None if it has none."""
    name, text = message.content.get("name"), message.content.get("text")
    return name if message.msg_type == "stream" and isinstance(name, str) and isinstance(text, str) else None


def _continues(last: Output, output: Output) -> bool:
    return (
        last["output_type"] == output["output_type"] == "stream"
        and last["name"] == output["name"]
        and isinstance(last["text"], str)
        and isinstance(output["text"], str)
    )
