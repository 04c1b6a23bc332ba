"""Objects that can be served, and objects that cannot."""

import functools
from typing import Any, ClassVar
from unittest.mock import AsyncMock

import pytest

from kernelwire.errors import InvalidKernel
from kernelwire.serving.definition import METHODS, Definition, as_mapping


class Good:
    async def execute(self, code: str, run: Any) -> None: ...


def test_the_least_that_is_needed() -> None:
    definition = Definition(Good())
    assert definition.method("execute") is not None
    assert definition.method("complete") is None
    assert definition.execution_count is None


async def test_what_it_says_of_itself() -> None:
    info = await Definition(Good()).kernel_info()
    assert (info["status"], info["implementation"]) == ("ok", "Good")
    assert info["language_info"]["name"] == "text"

    class Named(Good):
        implementation = "named"
        language_info: ClassVar = {"name": "brief"}
        execution_count = 7

        async def kernel_info(self) -> dict[str, object]:
            return {"banner": "hello"}

    definition = Definition(Named())
    info = await definition.kernel_info()
    assert (info["implementation"], info["banner"], definition.execution_count) == ("named", "hello", 7)
    assert info["language_info"] == {"name": "brief", "version": "", "mimetype": "text/plain", "file_extension": ".txt"}


def test_without_execute() -> None:
    with pytest.raises(InvalidKernel, match=r"object has no method execute: write `async def execute\(self, code, run"):
        Definition(object())


def test_a_class_instead_of_an_instance() -> None:
    with pytest.raises(InvalidKernel, match=r"Good is a class: serve an instance of it, Good\(...\)"):
        Definition(Good)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_is_not_async(name: str) -> None:
    served = Good()
    setattr(served, name, lambda *_: None)
    with pytest.raises(InvalidKernel, match=rf"Good.{name} is not async: write `async def {name}\("):
        Definition(served)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_takes_other_arguments(name: str) -> None:
    async def strange(_a: object, _b: object, _c: object, _d: object) -> None: ...

    served = Good()
    setattr(served, name, strange)
    with pytest.raises(InvalidKernel, match=rf"Good.{name} takes other arguments \(missing"):
        Definition(served)


def test_a_method_that_is_none() -> None:
    served = Good()
    served.complete = "no"  # type: ignore[attr-defined]
    with pytest.raises(InvalidKernel, match=r"Good\.complete is no method"):
        Definition(served)


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [("banner", 1, "text"), ("language_info", "python", "a mapping"), ("help_links", {}, "a list")],
)
def test_an_attribute_of_another_type(name: str, value: object, needed: str) -> None:
    served = Good()
    setattr(served, name, value)
    with pytest.raises(InvalidKernel, match=rf"Good.{name}: {type(value).__name__} where {needed} is needed"):
        Definition(served)


def test_functions_of_other_kinds() -> None:
    served = Good()
    served.execute = functools.partial(served.execute)  # type: ignore[method-assign]
    served.complete = AsyncMock()  # type: ignore[attr-defined]
    assert Definition(served).method("complete") is not None


def test_a_reply_that_is_no_mapping() -> None:
    assert as_mapping("complete", {"matches": []}) == {"matches": []}
    with pytest.raises(TypeError, match="complete returned list where a mapping is needed"):
        as_mapping("complete", [])
