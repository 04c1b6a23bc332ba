"""Notebooks as values."""

import copy
import itertools
import json
import sys
import warnings
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat import v3, v4

from kernelwire import notebooks
from kernelwire.errors import ConfigurationError
from kernelwire.messages import Message
from kernelwire.notebooks import Notebook


def made(*cells: Any, **metadata: Any) -> Notebook:
    node = v4.new_notebook(cells=list(cells), metadata=metadata)
    return notebooks.parse(nbformat.writes(node).encode())


def code(source: str = "1", tags: list[str] | None = None, **fields: Any) -> Any:
    return v4.new_code_cell(source, metadata={} if tags is None else {"tags": tags}, **fields)


def written(notebook: Notebook) -> Any:
    """As others read it; it is valid."""
    data = notebooks.render(notebook)
    node = nbformat.reads(data.decode(), nbformat.NO_CONVERT)
    nbformat.validate(node)
    return node


def message(msg_type: str, date: str | None = None, **content: Any) -> Message:
    return Message({"msg_type": msg_type, **({} if date is None else {"date": date})}, content=content)


def display(text: str, display_id: str, msg_type: str = "display_data") -> Message:
    transient = {"display_id": display_id}
    return message(msg_type, data={"text/plain": text}, metadata={}, transient=transient, execution_count=1)


def shown(notebook: Notebook, index: int) -> list[str]:
    outputs = written(notebook).cells[index].outputs
    return [output.get("text") or output["data"]["text/plain"] for output in outputs]


# Reading


def test_what_a_notebook_says() -> None:
    notebook = made(v4.new_markdown_cell("# t"), code("a\nb", ["x"]), kernelspec={"name": "k", "display_name": "K"})
    assert notebook.kernel_name == "k"
    assert [cell.source for cell in notebook.cells] == ["# t", "a\nb"]
    assert notebook.cells[1].tags == {"x"}
    assert made().kernel_name is None


def test_which_cells_are_run() -> None:
    skipped = [v4.new_markdown_cell("1"), v4.new_raw_cell("1"), code(" \n"), code("1", ["skip-execution", "x"])]
    assert made(*skipped, code("1"), code("2", ["raises-exception"])).to_run == (4, 5)


def test_reading_and_writing_changes_nothing() -> None:
    node = v4.new_notebook(
        cells=[
            v4.new_markdown_cell("![x](attachment:x.png)", attachments={"x.png": {"image/png": "AAAA"}}),
            v4.new_raw_cell("raw", metadata={"format": "text/latex"}),
            code("1\n2\n", execution_count=7, outputs=[v4.new_output("stream", text="old\nlines\n")]),
        ],
        metadata={"kernelspec": {"name": "k", "display_name": "K"}, "authors": [{"name": "A"}], "Ä": "日本"},
    )
    text = nbformat.writes(node) + "\n"
    assert notebooks.render(notebooks.parse(text.encode())).decode() == text


def test_an_older_format_is_upgraded() -> None:
    old = v3.new_notebook(worksheets=[v3.new_worksheet(cells=[v3.new_code_cell("6 * 7", prompt_number=3)])])
    notebook = notebooks.parse(v3.writes_json(old).encode())
    assert [cell.source for cell in notebook.cells] == ["6 * 7"]
    node = written(notebook)
    assert node.nbformat == 4
    assert node.cells[0].execution_count == 3


def test_an_older_minor_format_stays() -> None:
    cell: dict[str, Any] = {"cell_type": "code", "source": "1", "metadata": {}, "outputs": [], "execution_count": None}
    fields = {"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": [cell]}
    again = written(notebooks.parse(json.dumps(fields).encode()))
    assert (again.nbformat, again.nbformat_minor) == (4, 2)
    assert "id" not in again.cells[0]


def test_a_newer_minor_format_is_read() -> None:
    cells = [{"cell_type": "new", "id": "a", "metadata": {}}]
    text = json.dumps({"nbformat": 4, "nbformat_minor": 99, "metadata": {}, "cells": cells})
    notebook = notebooks.parse(text.encode())
    assert notebook.to_run == ()
    assert json.loads(notebooks.render(notebook))["cells"] == cells


def test_ids_that_are_missing_are_filled_in_without_a_word() -> None:
    node = made(code(), code())
    fields = json.loads(notebooks.render(node))
    del fields["cells"][0]["id"]
    fields["cells"][1]["id"] = "same"
    fields["cells"].append(fields["cells"][1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ids = [cell.fields["id"] for cell in notebooks.parse(json.dumps(fields).encode()).cells]
    assert len(set(ids)) == 3


def test_a_byte_order_mark() -> None:
    assert notebooks.parse(b"\xef\xbb\xbf" + notebooks.render(made(code("1")))).to_run == (0,)


VALID: dict[str, Any] = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "nested too deep"),
        (b"[]", "not a notebook"),
        (b"3", "not a notebook"),
        (b"{}", "no field 'nbformat'"),
        (b'{"cells": []}', "no field 'nbformat'"),
        (b'{"nbformat": 5}', "nbformat version 5"),
        (b'{"nbformat": "x"}', "nbformat version x"),
        (b'{"nbformat": []}', "not a valid notebook"),
        (b'{"nbformat": 4}', "missing an expected key: cells"),
        (b'{"nbformat": 4, "cells": [1]}', "not a valid notebook"),
        (b'{"nbformat": 4, "cells": [{}]}', "missing an expected key: metadata"),
        (b'{"nbformat": 3, "worksheets": [3]}', "not a valid notebook"),
        (json.dumps({**VALID, "nbformat_minor": -1}).encode(), "No schema"),
        (json.dumps({**VALID, "cells": [{"cell_type": "code", "metadata": {}}]}).encode(), "['cells'][0]"),
        (json.dumps({**VALID, "metadata": {"kernelspec": 3}}).encode(), "['metadata']['kernelspec']"),
    ],
)
def test_what_is_no_notebook(data: bytes, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        notebooks.parse(data)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_without_nbformat(monkeypatch: pytest.MonkeyPatch) -> None:
    data = notebooks.render(made())
    monkeypatch.setitem(sys.modules, "nbformat", None)
    with pytest.raises(ConfigurationError, match=r"kernelwire\[run\]"):
        notebooks.parse(data)


# Running


def test_a_cell_from_its_beginning_to_its_end() -> None:
    old = [v4.new_output("stream", text="old")]
    before = made(code("1", execution_count=9, outputs=old), code("2", execution_count=8, outputs=old))
    running = before.begun(0)
    assert written(running).cells[0] | {"id": ""} == {
        "cell_type": "code",
        "id": "",
        "execution_count": None,
        "metadata": {"execution": {}},
        "outputs": [],
        "source": "1",
    }
    running = running.after(
        0,
        [
            message("execute_input", "2026-01-01T00:00:00+00:00", code="1", execution_count=3),
            message("stream", name="stdout", text="a"),
            message("stream", name="stdout", text="b"),
        ],
    )
    assert written(running).cells[0].execution_count == 3
    ended = running.ended(0, message("execute_reply", "2026-01-01T01:00:01+01:00", status="ok", execution_count=4))
    cell, untouched = written(ended).cells
    assert cell.execution_count == 4
    assert cell.outputs == [{"output_type": "stream", "name": "stdout", "text": "ab"}]
    assert cell.metadata.execution == {
        "iopub.execute_input": "2026-01-01T00:00:00Z",
        "shell.execute_reply": "2026-01-01T01:00:01+01:00",
    }
    assert untouched.outputs == old
    assert untouched.execution_count == 8
    assert written(before).cells[0].outputs == old, "it was a value"


def test_an_update_reaches_the_cells_before() -> None:
    notebook = made(code(outputs=[v4.new_output("stream", text="old")]), code(), code(), code()).begun(1)
    notebook = notebook.after(1, [display("1", "x"), display("2", "y"), display("1", "x", "execute_result")])
    notebook = notebook.begun(2).after(2, [display("3", "x", "update_display_data")])
    assert [shown(notebook, index) for index in range(4)] == [["old"], ["3", "2", "3"], [], []]
    notebook = notebook.begun(3).after(3, [display("4", "y")])
    assert [shown(notebook, index) for index in range(4)] == [["old"], ["3", "4", "3"], [], ["4"]]
    notebook = notebook.after(3, [message("clear_output", wait=False), display("5", "y", "update_display_data")])
    assert [shown(notebook, index) for index in range(4)] == [["old"], ["3", "5", "3"], [], []]


def test_what_a_kernel_says_of_itself() -> None:
    notebook = made(kernelspec={"name": "a", "display_name": "A"}, title="t")
    metadata = written(notebook.of_kernel({"name": "python", "version": "3"})).metadata
    assert metadata == {
        "kernelspec": {"name": "a", "display_name": "A"},
        "language_info": {"name": "python", "version": "3"},
        "title": "t",
    }
    spec = {"name": "b", "display_name": "B", "language": "python"}
    assert written(notebook.of_kernel({"name": "python"}, spec)).metadata.kernelspec == spec
    for odd in (None, "python", {}, {"name": 3}):
        assert "language_info" not in written(notebook.of_kernel(odd)).metadata


def test_half_a_surrogate_pair() -> None:
    notebook = made(code()).begun(0).after(0, [message("stream", name="stdout", text="\ud800 日")])
    data = notebooks.render(notebook)
    assert rb"\ud800 " + "日".encode() in data
    assert notebooks.parse(data).cells[0].fields["outputs"][0]["text"] == "\ud800 日"


# Whatever the kernel sends

json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
mimes = st.sampled_from(["text/plain", "image/png", "application/json", "application/x+json", "odd", ""])
bundles = st.dictionaries(mimes, json_values, max_size=3)
contents = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["stdout", "stderr"]) | json_values,
        "text": st.text(max_size=3) | json_values,
        "data": bundles | json_values,
        "metadata": json_values,
        "transient": st.fixed_dictionaries({"display_id": st.sampled_from(["x", "y"])}) | json_values,
        "execution_count": st.integers() | json_values,
        "ename": json_values,
        "evalue": json_values,
        "traceback": json_values,
        "wait": st.booleans(),
    },
)
types = st.sampled_from(
    ["stream", "display_data", "update_display_data", "execute_result", "error", "clear_output", "execute_input", "?"]
)
dates = st.sampled_from([None, "soon", "2026-01-01T00:00:00Z"])
messages = st.builds(lambda kind, date, content: message(kind, date, **content), types, dates, contents)


@given(st.lists(st.tuples(st.integers(0, 2), messages), max_size=12), messages)
def test_the_notebook_is_valid_and_the_steps_are_values(steps: list[tuple[int, Message]], reply: Message) -> None:
    notebook = made(code("0"), v4.new_markdown_cell("between"), code("2"), code("3"))
    cells = notebook.to_run
    at = -1
    for step, each in sorted(steps, key=lambda step: step[0]):
        before = copy.deepcopy(notebook)
        if step != at:
            after = (notebook if at < 0 else notebook.ended(cells[at], reply)).begun(cells[step])
            at = step
        else:
            after = notebook
        after = after.after(cells[step], [each])
        assert notebook == before
        notebook = after
    node = written(notebook)
    assert [cell.source for cell in node.cells] == ["0", "between", "2", "3"]
    assert notebooks.render(notebooks.parse(notebooks.render(notebook))) == notebooks.render(notebook)


@given(st.lists(messages, max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_it_does_not_matter_how_messages_are_grouped(sequence: list[Message], cuts: list[int]) -> None:
    begun = made(code("0"), code("1")).begun(0).after(0, [display("first", "x")]).begun(1)
    in_groups = begun
    edges = [0, *sorted(cuts), len(sequence)]
    for start, end in itertools.pairwise(edges):
        in_groups = in_groups.after(1, sequence[start:end])
    assert in_groups == begun.after(1, sequence)
