"""The shell by itself."""

import builtins
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.error import UsageError

from kernelwire_inprocess.ipython_shell import KernelShell


class Put:
    def __init__(self) -> None:
        self.put: list[tuple[str, Any, int]] = []

    def __call__(self, msg_type: str, content: Any, size: int = 0) -> None:
        self.put.append((msg_type, content, size))


@pytest.fixture
def put() -> Put:
    return Put()


@pytest.fixture
def shell(put: Put) -> Iterator[KernelShell]:
    shell = KernelShell.make(put, {})
    yield shell
    shell.close()


def test_it_takes_nothing_over(put: Put) -> None:
    before = sys.modules["__main__"], sys.displayhook, set(vars(builtins)), list(sys.path)
    shell = KernelShell.make(put, {"mine": 1})
    shell.run_cell("other = mine + 1")
    shell.close()
    assert (sys.modules["__main__"], sys.displayhook, set(vars(builtins)), list(sys.path)) == before
    assert not KernelShell.initialized()
    assert shell.user_ns["mine"] == 1


def test_displays(shell: KernelShell, put: Put) -> None:
    shell.displayhook(41)
    shell.display_pub.publish({"text/plain": "abc"}, transient={"display_id": "d"}, update=True)
    shell.display_pub.clear_output()
    result, update, clear = put.put
    assert result == ("execute_result", {"execution_count": 1, "data": {"text/plain": "41"}, "metadata": {}}, 2)
    assert (update[0], update[1]["transient"], update[2]) == ("update_display_data", {"display_id": "d"}, 3)
    assert clear == ("clear_output", {"wait": False}, 0)


def test_an_error(shell: KernelShell, put: Put) -> None:
    shell.run_cell("1 / 0")
    ((kind, content, _),) = put.put
    assert (kind, content["ename"]) == ("error", "ZeroDivisionError")
    assert shell.failure == content


def test_payloads(shell: KernelShell) -> None:
    shell.set_next_input("x = 1")
    shell.ask_exit()
    shell._show_page("text", start=-1)
    payloads = shell.payload_manager.read_payload()
    assert [each["source"] for each in payloads] == ["set_next_input", "ask_exit", "page"]
    assert payloads[2]["start"] == 0


def test_guis(shell: KernelShell) -> None:
    shell.enable_gui("inline")
    with pytest.raises(UsageError, match="tk: an in-process kernel"):
        shell.enable_gui("tk")
