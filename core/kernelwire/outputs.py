"""Output messages as a notebook keeps them: pure.

Source: the notebook format, https://nbformat.readthedocs.io/en/stable/format_description.html, section "Code cell
outputs".
"""

from typing import Any

from kernelwire.messages import Message

_FIELDS: dict[str, tuple[str, ...]] = {
    "stream": ("name", "text"),
    "display_data": ("data", "metadata"),
    "execute_result": ("data", "metadata", "execution_count"),
    "error": ("ename", "evalue", "traceback"),
}


def to_output(message: Message) -> dict[str, Any] | None:
    """The output of a code cell that a message stands for; None if it stands for none."""
    fields = _FIELDS.get(message.msg_type)
    if fields is None:
        return None
    return {"output_type": message.msg_type} | {name: message.content.get(name) for name in fields}
