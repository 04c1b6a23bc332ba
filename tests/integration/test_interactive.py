"""Code that runs in one kernel as if it ran in a notebook of another, or at a terminal."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from kernelwire.execution import InputRequest
from kernelwire.messages import Message

from ._kernels import PATIENCE, RealKernel, ready_client, real_kernel

ASK = "print('hello', input('name? '))"

SHOW = """
from IPython.display import HTML, display
shown = display(HTML("<b>one</b>"), display_id=True)
shown.update(HTML("<b>two</b>"))
HTML("<b>three</b>")
"""

NOTEBOOK = """
from kernelwire import connect
connection = connect({file!r})
client = await connection.__aenter__()
await client.ready({patience})

async def run(code):
    result = await client.execute_interactive(code, timeout={patience})
    assert result.status == "error" or result.error is None
"""


@pytest.fixture
async def kernel() -> AsyncIterator[RealKernel]:
    async with real_kernel() as kernel:
        yield kernel


def kinds(messages: tuple[Message, ...]) -> list[str]:
    return [each.msg_type for each in messages if each.msg_type != "execute_input"]


async def test_in_a_notebook(kernel: RealKernel) -> None:
    async def answer(question: InputRequest) -> str:
        return question.prompt + "Ada"

    async with real_kernel() as outer, ready_client(outer.info) as notebook:
        setup = await notebook.execute(NOTEBOOK.format(file=str(kernel.file), patience=PATIENCE))
        assert setup.status == "ok", setup.error
        shown = await notebook.execute(f"await run({SHOW!r})")
        assert shown.status == "ok", shown.error
        assert kinds(shown.outputs) == ["display_data", "update_display_data", "display_data"]
        first, updated, result = (each.content for each in shown.outputs if each.msg_type != "execute_input")
        assert updated["data"]["text/html"] == "<b>two</b>"
        assert first["transient"]["display_id"] == updated["transient"]["display_id"]
        assert result["data"]["text/html"] == "<b>three</b>"
        asked = await notebook.execute(f"await run({ASK!r})", input_hook=answer)
        assert (asked.status, asked.text) == ("ok", "hello name? Ada\n")
        silent = await notebook.execute(f"await run({ASK!r})")  # nobody to ask: the end of input
        assert "EOFError" in "".join(each.content.get("text", "") for each in silent.outputs)
        failed = await notebook.execute("await run('1 / 0')")
        error = "".join(each.content["text"] for each in failed.outputs if each.msg_type == "stream")
        assert "ZeroDivisionError" in error
        assert "\x1b[" in error
        await notebook.execute("await connection.__aexit__(None, None, None)")


@pytest.mark.parametrize("answer", ["Ada\n", ""], ids=["a line", "the end of input"])
async def test_at_a_terminal(kernel: RealKernel, answer: str) -> None:
    script = f"""
import sys
from kernelwire import blocking
with blocking.connect(sys.argv[1]) as client:
    client.ready({PATIENCE})
    result = client.execute_interactive({ASK!r}, timeout={PATIENCE})
    print(result.status)
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", script, str(kernel.file)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(answer.encode())
    if answer:
        assert (out, err) == (b"name? hello Ada\nok\n", b"")
    else:
        assert out == b"name? error\n"
        assert b"EOFError" in err
        assert b"\x1b" not in err
