"""Contents of replies."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire.serving import replies
from kernelwire.serving.definition import Definition


class Full:
    async def execute(self, code: str, run: Any) -> None: ...

    async def complete(self, code: str, cursor_pos: int) -> Mapping[str, object]:
        return {"matches": [code[:cursor_pos] + "!"], "cursor_start": 0}

    async def inspect(self, code: str, cursor_pos: int, detail_level: int) -> Mapping[str, object] | None:
        return {"data": {"text/plain": f"{code} {cursor_pos} {detail_level}"}} if code else None

    async def is_complete(self, code: str) -> object:
        return "complete" if code else {"status": "incomplete", "indent": "  "}

    async def history(self, request: Mapping[str, object]) -> object:
        return {"history": ["all"]} if request else ((1, 1, "one"),)


class Bare:
    async def execute(self, code: str, run: Any) -> None: ...


FULL, BARE = Definition(Full()), Definition(Bare())


async def test_of_an_object_that_has_the_methods() -> None:
    completed = await replies.completions(FULL, {"code": "abc", "cursor_pos": 2})
    assert completed == {"status": "ok", "matches": ["ab!"], "cursor_start": 0, "cursor_end": 2, "metadata": {}}
    found = await replies.inspection(FULL, {"code": "abc", "cursor_pos": 1, "detail_level": 1})
    assert (found["found"], found["data"]) == (True, {"text/plain": "abc 1 1"})
    assert (await replies.inspection(FULL, {"code": ""}))["found"] is False
    assert await replies.completeness(FULL, {"code": "a"}) == {"status": "complete"}
    assert await replies.completeness(FULL, {"code": ""}) == {"status": "incomplete", "indent": "  "}
    assert await replies.history(FULL, {}) == {"status": "ok", "history": [(1, 1, "one")]}
    assert await replies.history(FULL, {"n": 1}) == {"status": "ok", "history": ["all"]}


async def test_of_an_object_that_has_none() -> None:
    assert (await replies.completions(BARE, {"code": "abc"}))["cursor_end"] == 3
    assert (await replies.inspection(BARE, {"code": "abc"}))["found"] is False
    assert await replies.completeness(BARE, {"code": ""}) == {"status": "unknown"}
    assert await replies.history(BARE, {}) == {"status": "ok", "history": []}


@given(position=st.one_of(st.none(), st.integers(), st.text(max_size=2)))
async def test_a_cursor_is_always_in_the_code(position: object) -> None:
    completed = await replies.completions(BARE, {"code": "abc", "cursor_pos": position})
    assert 0 <= completed["cursor_start"] == completed["cursor_end"] <= 3


async def test_code_that_is_no_text() -> None:
    with pytest.raises(TypeError, match="code: int where text is needed"):
        await replies.completions(FULL, {"code": 1})


def test_an_error() -> None:
    try:
        raise LookupError("not there")
    except LookupError as error:
        content = replies.failed(error)
    assert (content["status"], content["ename"], content["evalue"]) == ("error", "LookupError", "not there")
    assert content["traceback"][0] == "Traceback (most recent call last):"
    assert content["traceback"][-1] == "LookupError: not there"


def test_an_error_that_cannot_be_shown() -> None:
    class Nasty(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert replies.failure(Nasty())["evalue"] == ""
    assert replies.failure(Nasty())["ename"] == "Nasty"


def test_ends_that_are_no_errors() -> None:
    assert replies.failure(replies.Interrupted())["ename"] == "KeyboardInterrupt"
    assert replies.failure(replies.Exited("3"))["evalue"] == "3"
    assert replies.unknown("strange_request")["evalue"].startswith("strange_request: ")
