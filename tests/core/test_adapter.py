import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_client.adapter import adapt

from kernelwire.adapter import is_v4, to_v4, to_v5
from kernelwire.messages import Message

law = settings(deadline=None)

RENAMED = {
    "pyout": "execute_result",
    "pyin": "execute_input",
    "pyerr": "error",
    "object_info_request": "inspect_request",
    "object_info_reply": "inspect_reply",
}
ADAPTED = [
    *RENAMED,
    *RENAMED.values(),
    "complete_reply",
    "complete_request",
    "display_data",
    "execute_reply",
    "execute_request",
    "input_request",
    "kernel_info_reply",
    "stream",
]


def v4(msg_type: str, content: Mapping[str, Any]) -> Message:
    return Message({"msg_id": "1", "msg_type": msg_type}, {"msg_id": "0", "msg_type": "request"}, content=content)


def v5(msg_type: str, content: Mapping[str, Any]) -> Message:
    message = v4(msg_type, content)
    version = {"version": "5.0"}
    return Message({**message.header, **version}, {**message.parent_header, **version}, content=content)


def up(msg_type: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    return to_v5(v4(msg_type, content)).content


def down(msg_type: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    return to_v4(v5(msg_type, content)).content


# Which version a message has.


@pytest.mark.parametrize("header", [{}, {"version": "4.1"}, {"version": "4"}, {"version": "0.9"}, {"version": "04.0"}])
def test_absent_or_old_version_is_v4(header: dict[str, Any]) -> None:
    assert is_v4(Message(header))


@pytest.mark.parametrize(
    "version",
    [
        "5.0",
        "5",
        "5.4",
        "6.0",
        "10.0",
        "40.1",
        "",
        "x",
        "v4",
        None,
        4,
        4.1,
        True,
        [4, 1],
        {},
        "9" * 5000,
        "\u0664.\u0661",
    ],
)
def test_new_or_unreadable_version_is_v5(version: object) -> None:
    assert not is_v4(Message({"version": version}))


@law
@given(st.text() | st.none() | st.integers() | st.floats())
def test_every_version_is_one_or_the_other(version: object) -> None:
    message = Message({"version": version})
    assert not is_v4(to_v5(message))
    assert is_v4(to_v4(message))


# Headers.


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_types_are_renamed_in_both_headers(old: str, new: str) -> None:
    before = Message({"msg_type": old, "date": "d"}, {"msg_type": old, "msg_id": "0"})
    after = to_v5(before)
    assert after.header == {"msg_type": new, "date": "d", "version": "5.0"}
    assert after.parent_header == {"msg_type": new, "msg_id": "0", "version": "5.0"}
    assert to_v4(after) == before


def test_absent_parent_stays_absent() -> None:
    assert to_v5(Message({"msg_type": "status"})).parent_header == {}
    assert to_v4(Message({"msg_type": "status", "version": "5.0"})).parent_header == {}


def test_echoed_v5_parent_keeps_its_version() -> None:
    parent = {"msg_type": "execute_request", "version": "5.4"}
    assert to_v5(Message({"msg_type": "pyin"}, parent)).parent_header == parent


@pytest.mark.parametrize("msg_type", [None, 5, ["stream"], {}])
def test_type_that_is_no_text_stays(msg_type: object) -> None:
    assert to_v5(Message({"msg_type": msg_type})).header == {"msg_type": msg_type, "version": "5.0"}
    assert to_v4(Message({"msg_type": msg_type, "version": "5.0"})).header == {"msg_type": msg_type}


def test_message_of_the_wanted_version_is_returned_as_it_is() -> None:
    old, new = v4("stream", {"data": "x"}), v5("stream", {"text": "x"})
    assert to_v4(old) is old
    assert to_v5(new) is new


def test_metadata_and_buffers_pass() -> None:
    message = Message({"msg_type": "stream"}, metadata={"a": 1}, buffers=(b"b",))
    for adapted in (to_v5(message), to_v4(to_v5(message))):
        assert (adapted.metadata, adapted.buffers) == ({"a": 1}, (b"b",))


@pytest.mark.parametrize("status", ["error", "aborted"])
@pytest.mark.parametrize("msg_type", [name for name in ADAPTED if name.endswith("reply")])
def test_failures_keep_their_content(status: str, msg_type: str) -> None:
    content = {"status": status, "ename": "E", "evalue": "v", "traceback": [], "found": True, "matches": []}
    assert up(msg_type, content) == content
    assert down(msg_type, content) == content


# Contents, as jupyter_client adapts them too.

V4: list[tuple[str, dict[str, Any]]] = [
    ("kernel_info_reply", {"language": "python", "ipython_version": [1, 2, 3], "language_version": [2, 7, 6]}),
    ("kernel_info_reply", {"language": "julia", "ipython_version": [4, 0], "protocol_version": [4, 0]}),
    ("execute_request", {"code": "1", "silent": False, "user_variables": ["a", "b"], "user_expressions": {"c": "1"}}),
    ("execute_request", {"code": "1"}),
    ("execute_reply", {"status": "ok", "user_variables": {"a": {}}, "payload": [{"source": "page", "text": "help"}]}),
    ("execute_reply", {"status": "ok", "payload": [{"source": "page", "data": {"text/html": "h"}, "text": "t"}]}),
    ("execute_reply", {"status": "ok", "payload": [{"source": "set_next_input", "text": "t"}, {"source": "page"}]}),
    ("complete_request", {"text": "", "line": "a.is", "block": None, "cursor_pos": 4}),
    ("complete_reply", {"status": "ok", "matches": ["isalnum", "isalpha"], "matched_text": "is"}),
    ("complete_reply", {"matches": ["isalnum"], "matched_text": ""}),
    ("object_info_request", {"oname": "os.path", "detail_level": 1}),
    ("object_info_reply", {"found": False, "oname": "x"}),
    (
        "object_info_reply",
        {"found": True, "oname": "x", "definition": "f()", "docstring": "doc", "init_docstring": "i"},
    ),
    ("object_info_reply", {"found": True, "call_def": "f(x)", "init_definition": "f()", "docstring": None}),
    ("object_info_reply", {"found": True, "definition": ""}),
    ("stream", {"name": "stdout", "data": "text"}),
    ("display_data", {"source": "s", "data": {"application/json": '{"a": 1}', "text/plain": "a"}, "metadata": {}}),
    ("display_data", {"data": {"application/json": "no JSON"}}),
    ("input_request", {"prompt": ">"}),
    ("input_request", {"prompt": ">", "password": True}),
    ("pyout", {"data": {"text/plain": "1"}, "execution_count": 1}),
    ("pyerr", {"ename": "E", "evalue": "", "traceback": []}),
    ("status", {"execution_state": "idle"}),
]
V5: list[tuple[str, dict[str, Any]]] = [
    (
        "kernel_info_reply",
        {
            "protocol_version": "5.3",
            "implementation": "ipython",
            "implementation_version": "8.1.0.dev",
            "language_info": {"name": "python", "version": "3.11.0rc1"},
            "banner": "b",
        },
    ),
    ("kernel_info_reply", {"implementation": "xeus", "implementation_version": "1.0", "help_links": []}),
    ("execute_request", {"code": "1", "user_expressions": {"a": "1"}}),
    ("execute_reply", {"status": "ok", "user_expressions": {}}),
    ("complete_request", {"code": "a.is", "cursor_pos": 4}),
    ("complete_request", {"code": "one\ntwo", "cursor_pos": 6}),
    ("complete_reply", {"status": "ok", "matches": ["isalnum"], "cursor_start": 2, "cursor_end": 4, "metadata": {}}),
    ("inspect_request", {"code": "os.path", "cursor_pos": 7, "detail_level": 1}),
    ("inspect_reply", {"status": "ok", "found": False, "data": {}, "metadata": {}}),
    ("stream", {"name": "stdout", "text": "text"}),
    ("display_data", {"data": {"application/json": {"a": [1, None]}}, "metadata": {}, "transient": {}}),
    ("input_request", {"prompt": ">", "password": True}),
    ("execute_result", {"data": {"text/plain": "1"}, "execution_count": 1}),
    ("error", {"ename": "E", "evalue": "", "traceback": []}),
    ("is_complete_request", {"code": "1"}),
]


def by_jupyter_client(message: Message, version: int) -> dict[str, Any]:
    fields = ("header", "parent_header", "metadata", "content")
    return adapt(copy.deepcopy({name: dict(getattr(message, name)) for name in fields}), version)


@pytest.mark.parametrize(("msg_type", "content"), V4)
def test_to_v5_agrees_with_jupyter_client(msg_type: str, content: dict[str, Any]) -> None:
    ours, theirs = to_v5(v4(msg_type, content)), by_jupyter_client(v4(msg_type, content), 5)
    if msg_type == "kernel_info_reply":
        theirs["content"]["status"] = "ok"
        if content["language"] != "python":
            theirs["content"]["ipython_version"] = content["ipython_version"]
    assert ours.header.items() <= theirs["header"].items()
    assert ours.content == theirs["content"]


@pytest.mark.parametrize(("msg_type", "content"), V5)
def test_to_v4_agrees_with_jupyter_client(msg_type: str, content: dict[str, Any]) -> None:
    ours, theirs = to_v4(v5(msg_type, content)), by_jupyter_client(v5(msg_type, content), 4)
    if content.get("code") == "one\ntwo":
        assert theirs["content"]["line"] == "two"
    assert ours.header.items() <= theirs["header"].items()
    assert ours.content == theirs["content"]


# Contents, where jupyter_client fails or is wrong.


def test_version_without_its_last_part() -> None:
    reply = up(
        "kernel_info_reply", {"language": "python3", "ipython_version": [1, 1, 0, ""], "protocol_version": [4, 1]}
    )
    assert reply["implementation"] == "ipython"
    assert reply["implementation_version"] == "1.1.0"
    assert reply["protocol_version"] == "4.1"


@pytest.mark.parametrize("version", ["4.1", None, [1.5], [[4]], [-1], [10**5000], {"major": 4}])
def test_version_that_is_no_list_of_numbers_stays(version: object) -> None:
    assert up("kernel_info_reply", {"protocol_version": version})["protocol_version"] == version


def test_version_in_text_loses_what_is_no_number() -> None:
    for text, numbers in (("3.13.0rc1", [3, 13]), ("", []), ("1..2", [1, 2]), ("9" * 5000, [])):
        reply = down("kernel_info_reply", {"language_info": {"name": "python", "version": text}})
        assert reply["language_version"] == numbers


def test_kernel_information_without_a_language() -> None:
    assert up("kernel_info_reply", {})["language_info"] == {}
    assert (
        up("kernel_info_reply", {"language_info": {"name": "ruby"}, "language": "r"})["language_info"]["name"] == "ruby"
    )
    assert down("kernel_info_reply", {}) == {"language": ""}


def test_json_of_a_result_is_a_value() -> None:
    assert up("pyout", {"data": {"application/json": "[1]"}}) == {"data": {"application/json": [1]}}
    assert down("execute_result", {"data": {"application/json": [1]}}) == {"data": {"application/json": "[1]"}}


def test_completion_without_matches_replaces_nothing_known() -> None:
    assert down("complete_reply", {"matches": [], "cursor_start": 2, "cursor_end": 4})["matched_text"] == ""


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [(2, 4, "is"), (-2, None, "is"), (None, None, ""), (4, 4, ""), (4, 2, ""), (3, None, ""), (0, 50, "isalpha")],
)
def test_completion_with_positions_of_every_kind(start: int | None, end: int | None, text: str) -> None:
    content: dict[str, Any] = {
        "matches": ["isalpha"],
        "cursor_start": start,
        "cursor_end": end,
        "metadata": {"types": []},
    }
    assert down("complete_reply", content) == {"matches": ["isalpha"], "matched_text": text}


@pytest.mark.parametrize(
    ("code", "position", "line", "column"),
    [
        ("", 0, "", 0),
        ("", 7, "", 0),
        ("ab", -1, "ab", 0),
        ("ab", 9, "ab", 2),
        ("ab\ncd", 2, "ab", 2),
        ("ab\ncd", 3, "cd", 0),
        ("ab\ncd\n", 6, "", 0),
        ("ab\n\ncd", 3, "", 0),
        ("\U0001f40d\n\U0001f40d.é", 5, "\U0001f40d.é", 3),
    ],
)
def test_cursor_is_placed_in_its_line_by_characters(code: str, position: int, line: str, column: int) -> None:
    content = {"code": code, "cursor_pos": position}
    assert down("complete_request", content) == {"text": "", "line": line, "block": None, "cursor_pos": column}


@law
@given(st.text(st.sampled_from("ab\n\U0001f40d")), st.data())
def test_cursor_stands_between_the_same_characters(code: str, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(code)))
    adapted = down("complete_request", {"code": code, "cursor_pos": position})
    line, column = adapted["line"], adapted["cursor_pos"]
    assert "\n" not in line
    assert code[:position].endswith(line[:column])
    assert code[position:].startswith(line[column:])


@pytest.mark.parametrize(
    ("code", "position", "name"),
    [
        ("os.path.join", 12, "os.path.join"),
        ("os.path.join", 5, "os.path"),
        ("os.path.join", 7, "os.path"),
        ("os.path.join", 8, "os.path.join"),
        ("os.path.join", 0, "os"),
        ("os.path.", 8, "os.path"),
        ("f(one, two)", 4, "one"),
        ("f(one, two)", 8, "two"),
        ("a = b\nc.d + e", 9, "c.d"),
        ("été.âge + 1", 6, "été.âge"),
        ("_x1 ", 3, "_x1"),
        ("1 + 2", 2, ""),
        ("", 0, ""),
        ("abc", -5, "abc"),
        ("abc", 50, "abc"),
    ],
)
def test_inspected_name_is_the_one_around_the_cursor(code: str, position: int, name: str) -> None:
    assert down("inspect_request", {"code": code, "cursor_pos": position}) == {"oname": name, "detail_level": 0}


def test_inspected_text_becomes_the_docstring() -> None:
    reply = down("inspect_reply", {"status": "ok", "found": True, "data": {"text/plain": "doc", "text/html": "h"}})
    assert reply == {"found": True, "oname": "unknown", "docstring": "doc"}


def test_expression_of_the_same_name_as_a_variable_wins() -> None:
    assert up("execute_request", {"user_variables": ["a"], "user_expressions": {"a": "1"}}) == {
        "user_expressions": {"a": "1"}
    }


def test_page_of_several_types_keeps_them() -> None:
    page = {"source": "page", "start": 0, "data": {"text/plain": "t", "text/html": "h"}}
    adapted = down("execute_reply", {"payload": [page]})
    assert adapted["payload"] == [{"source": "page", "start": 0, "text": "t", "data": {"text/html": "h"}}]
    assert up("execute_reply", adapted)["payload"] == [page]


def test_stream_with_both_names_is_left_alone() -> None:
    both = {"name": "stdout", "data": "a", "text": "b"}
    assert up("stream", both) == down("stream", both) == both


@pytest.mark.parametrize("text", ["", "{", "no", "[" * 100_000, None, 5, {"a": 1}])
def test_unreadable_json_stays(text: object) -> None:
    content = {"data": {"application/json": text, "text/plain": "t"}}
    assert up("display_data", content) == content


def test_json_that_cannot_be_text_stays() -> None:
    circle: list[object] = []
    circle.append(circle)
    value: object
    for value in (object(), circle, {(1, 2): 3}, 10**5000):
        adapted = down("display_data", {"data": {"application/json": value}})
        assert adapted["data"]["application/json"] is value


# Round trips, where nothing is lost.

texts = st.text(max_size=20)
lines = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=20)
words = st.from_regex(r"[^\W\d]\w{0,5}", fullmatch=True)
dotted_names = st.lists(words, min_size=1, max_size=3).map(".".join)
numbers = st.lists(st.integers(0, 999), min_size=1, max_size=4)
versions = numbers.map(lambda parts: ".".join(map(str, parts)))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
expressions = st.dictionaries(texts, texts, max_size=3)
bundles = st.dictionaries(st.sampled_from(["text/plain", "text/html"]), texts)


@st.composite
def completions(draw: st.DrawFn) -> dict[str, Any]:
    matches = draw(st.lists(texts, min_size=1, max_size=3))
    typed = draw(st.integers(0, len(matches[0])))
    return {"status": "ok", "matches": matches, "matched_text": matches[0][:typed]}


@st.composite
def lines_with_cursor(draw: st.DrawFn, name: str) -> dict[str, Any]:
    line = draw(lines)
    return {name: line, "cursor_pos": draw(st.integers(0, len(line)))}


lossless_v4: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "kernel_info_reply": st.fixed_dictionaries(
        {
            "protocol_version": numbers,
            "language": st.just("python"),
            "ipython_version": numbers,
            "language_version": numbers,
        }
    ),
    "execute_request": st.fixed_dictionaries(
        {"code": texts, "user_variables": st.just([]), "user_expressions": expressions}
    ),
    "execute_reply": st.fixed_dictionaries(
        {
            "status": st.just("ok"),
            "user_variables": st.just({}),
            "user_expressions": expressions,
            "payload": st.lists(st.fixed_dictionaries({"source": texts | st.just("page"), "text": texts})),
        }
    ),
    "complete_request": lines_with_cursor("line").map(lambda content: {**content, "text": "", "block": None}),
    "complete_reply": completions(),
    "object_info_request": st.fixed_dictionaries({"oname": dotted_names, "detail_level": st.integers(0, 1)}),
    "stream": st.fixed_dictionaries({"name": texts, "data": texts}),
    "display_data": st.fixed_dictionaries(
        {"source": st.just("display"), "data": bundles, "metadata": st.just({})},
    ),
    "pyout": st.fixed_dictionaries({"data": json_values.map(lambda v: {"application/json": json.dumps(v)})}),
    "input_request": st.fixed_dictionaries({"prompt": texts}),
    "pyin": st.fixed_dictionaries({"code": texts, "execution_count": st.integers()}),
    "status": st.fixed_dictionaries({"execution_state": texts}),
}
lossless_v5: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "kernel_info_reply": st.fixed_dictionaries(
        {
            "status": st.just("ok"),
            "banner": st.just(""),
            "protocol_version": versions,
            "implementation": st.just("ipython"),
            "implementation_version": versions,
            "language_info": st.fixed_dictionaries({"name": st.just("python"), "version": versions}),
        }
    ),
    "execute_request": st.fixed_dictionaries({"code": texts, "user_expressions": expressions, "silent": st.booleans()}),
    "execute_reply": st.fixed_dictionaries(
        {
            "status": st.just("ok"),
            "user_expressions": expressions,
            "payload": st.lists(st.fixed_dictionaries({"source": texts | st.just("page"), "data": bundles})),
        }
    ),
    "complete_request": lines_with_cursor("code"),
    "inspect_request": dotted_names.map(lambda name: {"code": name, "cursor_pos": len(name), "detail_level": 0}),
    "inspect_reply": texts.filter(bool).map(
        lambda text: {"status": "ok", "found": True, "data": {"text/plain": text}, "metadata": {}}
    ),
    "stream": st.fixed_dictionaries({"name": texts, "text": texts}),
    "display_data": st.fixed_dictionaries({"data": json_values.map(lambda value: {"application/json": value})}),
    "execute_result": st.fixed_dictionaries({"data": json_values.map(lambda value: {"application/json": value})}),
    "input_request": st.fixed_dictionaries({"prompt": texts, "password": st.just(False)}),
    "update_display_data": st.fixed_dictionaries({"data": bundles}),
}


@pytest.mark.parametrize("msg_type", lossless_v4)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_v4_survives_the_way_there_and_back(msg_type: str, data: st.DataObject) -> None:
    message = v4(msg_type, data.draw(lossless_v4[msg_type]))
    assert to_v4(to_v5(message)) == message


@pytest.mark.parametrize("msg_type", lossless_v5)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_v5_survives_the_way_there_and_back(msg_type: str, data: st.DataObject) -> None:
    message = v5(msg_type, data.draw(lossless_v5[msg_type]))
    assert to_v5(to_v4(message)) == message


# Whatever comes.

FIELDS = [
    *("allow_stdin", "banner", "block", "call_def", "code", "cursor_end", "cursor_pos", "cursor_start", "data"),
    *("definition", "detail_level", "docstring", "found", "implementation", "implementation_version"),
    *("ipython_version", "language", "language_info", "language_version", "line", "matched_text", "matches"),
    *("metadata", "name", "oname", "password", "payload", "protocol_version", "source", "status", "text"),
    *("user_expressions", "user_variables", "version", "application/json", "text/plain"),
]
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 50)
    | st.sampled_from([10**20, float("nan"), "page", "ok", "python", "ipython", "a.b(c", "[1]", "5.4", "\ud800"])
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, max_examples=400)
@given(
    msg_type=st.sampled_from(ADAPTED),
    content=st.dictionaries(st.sampled_from(FIELDS), anything, max_size=6) | anything,
)
def test_no_content_is_too_strange_and_none_is_changed_in_place(msg_type: str, content: Any) -> None:
    before = copy.deepcopy(content)
    for message in (v4(msg_type, content), v5(msg_type, content)):
        new, old = to_v5(message), to_v4(message)
        assert not is_v4(new)
        assert is_v4(old)
        to_v4(new)
        to_v5(old)
    assert message.content is content
    assert repr(content) == repr(before)


@pytest.mark.parametrize("msg_type", ADAPTED)
@pytest.mark.parametrize("content", [{}, {"other": 1}])
def test_content_without_its_fields_gains_nothing_wrong(msg_type: str, content: dict[str, Any]) -> None:
    for adapted in (up(msg_type, content), down(msg_type, content)):
        assert adapted.items() >= content.items()


@pytest.mark.parametrize(
    ("msg_type", "content"),
    [
        ("complete_request", {"line": 5, "cursor_pos": 0}),
        ("complete_request", {"line": "a", "cursor_pos": "0"}),
        ("complete_reply", {"matches": "abc", "matched_text": "a"}),
        ("complete_reply", {"matches": ["abc"], "matched_text": None}),
        ("object_info_request", {"oname": None}),
        ("object_info_reply", {"found": "yes"}),
        ("execute_request", {"user_variables": "abc"}),
        ("execute_request", {"user_variables": [["a"]], "user_expressions": {}}),
        ("execute_reply", {"user_variables": [], "user_expressions": [], "payload": {}}),
        ("execute_reply", {"user_variables": [], "payload": [None, {"source": "page", "text": "t", "data": 5}]}),
        ("display_data", {"data": "text"}),
        ("display_data", {"data": None}),
        ("pyout", {"data": ["application/json"]}),
    ],
)
def test_what_cannot_be_adapted_stays(msg_type: str, content: dict[str, Any]) -> None:
    assert up(msg_type, content) == content
