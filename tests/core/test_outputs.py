"""Output messages as a notebook keeps them."""

from typing import Any

import pytest

from kernelwire.messages import Message
from kernelwire.outputs import to_output


@pytest.mark.parametrize(
    ("msg_type", "content", "output"),
    [
        pytest.param("stream", {"name": "stdout", "text": "a"}, {"name": "stdout", "text": "a"}, id="stream"),
        pytest.param(
            "display_data",
            {"data": {"text/plain": "x"}, "metadata": {"m": 1}, "transient": {"display_id": "d"}},
            {"data": {"text/plain": "x"}, "metadata": {"m": 1}},
            id="display, without what is transient",
        ),
        pytest.param(
            "execute_result",
            {"data": {}, "metadata": {}, "execution_count": 3},
            {"data": {}, "metadata": {}, "execution_count": 3},
            id="result",
        ),
        pytest.param(
            "error",
            {"ename": "E", "evalue": "v", "traceback": ["t"], "status": "error"},
            {"ename": "E", "evalue": "v", "traceback": ["t"]},
            id="error",
        ),
        pytest.param("stream", {"text": "a"}, {"name": None, "text": "a"}, id="a field that is missing"),
    ],
)
def test_outputs(msg_type: str, content: dict[str, Any], output: dict[str, Any]) -> None:
    before = dict(content)
    assert to_output(Message({"msg_type": msg_type}, content=content)) == {"output_type": msg_type, **output}
    assert content == before


@pytest.mark.parametrize("msg_type", ["status", "execute_input", "execute_reply", "clear_output", "comm_msg", ""])
def test_what_is_no_output(msg_type: str) -> None:
    assert to_output(Message({"msg_type": msg_type}, content={"text": "a"})) is None
