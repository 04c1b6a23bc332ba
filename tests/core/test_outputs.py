"""Output messages as a notebook keeps them."""

import copy
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire.messages import Message
from kernelwire.outputs import Outputs, display_id, fold, fold_all, joined, to_output, update


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


def stream(text: str, name: str = "stdout") -> Message:
    return Message({"msg_type": "stream"}, content={"name": name, "text": text})


def display(text: str, display_id: str | None = None, msg_type: str = "display_data") -> Message:
    transient = {} if display_id is None else {"display_id": display_id}
    return Message(
        {"msg_type": msg_type}, content={"data": {"text/plain": text}, "metadata": {}, "transient": transient}
    )


def clear(*, wait: bool) -> Message:
    return Message({"msg_type": "clear_output"}, content={"wait": wait})


def texts(*messages: Message) -> list[str]:
    return [item.get("text") or item["data"]["text/plain"] for item in fold_all(messages)]


def test_text_of_one_stream_is_one_output_until_something_else_comes() -> None:
    assert texts(stream("a"), stream("b"), stream("c", "stderr"), stream("d"), display("e"), stream("f")) == [
        "ab",
        "c",
        "d",
        "e",
        "f",
    ]


def test_an_update_changes_every_display_of_its_id() -> None:
    before = [display("1", "x"), stream("between"), display("1", "x"), display("3", "y")]
    assert texts(*before, display("new", "x", "update_display_data")) == ["new", "between", "new", "3"]
    assert texts(*before, display("new", "unknown", "update_display_data")) == ["1", "between", "1", "3"]
    assert texts(*before, display("new", None, "update_display_data")) == ["1", "between", "1", "3"]


@pytest.mark.parametrize("msg_type", ["display_data", "execute_result"])
def test_a_second_display_of_an_id_changes_the_first(msg_type: str) -> None:
    # As its users know it: "Updating Displays" among IPython's examples.
    assert texts(display("old", "x"), display("other", "y"), display("new", "x", msg_type)) == ["new", "other", "new"]
    assert texts(display("old", None), display("new", None, msg_type)) == ["old", "new"]


def test_an_update_alone_adds_nothing() -> None:
    outputs = Outputs(({"output_type": "display_data", "data": {}, "metadata": {}},), ("x",))
    assert update(outputs, display("new", "y")) is outputs
    assert update(outputs, stream("text")) is outputs
    (item,) = update(outputs, display("new", "x")).items
    assert item["data"] == {"text/plain": "new"}


def test_clearing_is_at_once_or_with_the_next_output() -> None:
    assert texts(stream("a"), clear(wait=False)) == []
    assert texts(stream("a"), clear(wait=True)) == ["a"]
    assert texts(stream("a"), clear(wait=True), stream("b")) == ["b"]
    assert texts(stream("a"), clear(wait=True), clear(wait=False), stream("b"), stream("c")) == ["bc"]


def test_what_was_cleared_is_not_updated() -> None:
    assert texts(display("a", "x"), clear(wait=False), display("b", "x", "update_display_data")) == []


def test_what_has_a_display_id() -> None:
    assert display_id(display("a", "x")) == "x"
    assert display_id(display("a")) is None
    odd: list[Any] = [None, [], {"display_id": 3}, "display_id"]
    for transient in odd:
        assert display_id(Message({"msg_type": "display_data"}, content={"transient": transient})) is None
    assert display_id(Message({"msg_type": "stream"}, content={"transient": {"display_id": "x"}})) is None


def test_neighbours_are_joined() -> None:
    sequence = [stream("a"), stream("b"), stream("c", "stderr"), display("d"), display("e"), stream("f"), stream("g")]
    assert [message.content.get("text") for message in joined(sequence)] == ["ab", "c", None, None, "fg"]
    assert list(joined([])) == []


messages = st.one_of(
    st.builds(stream, st.text(max_size=3), st.sampled_from(["stdout", "stderr"])),
    st.builds(display, st.text(max_size=3), st.sampled_from([None, "x", "y"])),
    st.builds(display, st.text(max_size=3), st.sampled_from(["x", "y"]), st.just("update_display_data")),
    st.builds(clear, wait=st.booleans()),
    st.just(Message({"msg_type": "status"}, content={"execution_state": "busy"})),
    st.builds(lambda content: Message({"msg_type": "stream"}, content=content), st.dictionaries(st.text(), st.none())),
)


@given(st.lists(messages))
def test_folding_never_changes_what_it_was_given(sequence: list[Message]) -> None:
    outputs = Outputs()
    for message in sequence:
        before, kept = outputs, copy.deepcopy(outputs.items)
        outputs = fold(before, message)
        assert before.items == kept
        assert len(outputs.items) == len(outputs.display_ids)
    assert outputs.items == fold_all(sequence)
    for one, other in itertools.pairwise(outputs.items):
        # Neighbours of one stream were joined; what is no text is left as it came.
        assert not (
            one["output_type"] == other["output_type"] == "stream"
            and one["name"] == other["name"]
            and isinstance(one["text"], str)
            and isinstance(other["text"], str)
        )
