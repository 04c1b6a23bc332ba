"""A pipe is three methods to write, and a listener two; nothing else is asked of whoever writes them."""

import inspect

import pytest

from kernelwire.link.pipe import Listener, Pipe

from ._pipes import MemoryPipe, Network, pair


@pytest.mark.parametrize(
    ("abstract", "methods"),
    [(Pipe, {"send": ["data"], "receive": [], "aclose": []}), (Listener, {"accept": [], "aclose": []})],
)
def test_what_there_is_to_write(abstract: type, methods: dict[str, list[str]]) -> None:
    assert abstract.__abstractmethods__ == set(methods)  # type: ignore[attr-defined]
    for name, arguments in methods.items():
        method = getattr(abstract, name)
        assert inspect.iscoroutinefunction(method)
        assert list(inspect.signature(method).parameters) == ["self", *arguments]
        assert inspect.getdoc(method)
    with pytest.raises(TypeError, match="abstract"):
        abstract()


async def test_the_short_cuts_are_optional() -> None:
    near, far = pair()
    assert "pour" not in vars(MemoryPipe)
    poured: list[object] = []
    assert not far.pour(poured.append)
    assert not near.send_now([b"not sent"])
    await near.send(b"there")
    assert await far.receive() == b"there"
    assert poured == []


async def test_a_pipe_of_three_methods() -> None:
    near, far = pair()
    assert isinstance(near, Pipe)
    assert {name for name in vars(MemoryPipe) if inspect.iscoroutinefunction(vars(MemoryPipe)[name])} == {
        "send",
        "receive",
        "aclose",
    }
    await near.send(b"there")
    assert await far.receive() == b"there"
    await far.send(b"and back")
    assert await near.receive() == b"and back"
    await near.aclose()
    await far.aclose()
    assert isinstance(Network(), Listener)
