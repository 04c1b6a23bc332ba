"""IPython in this process, as a client sees it."""

import asyncio
import sys
import threading
from importlib import metadata
from typing import Any

import pytest

from kernelwire.channels import Channel
from kernelwire.client import KernelClient, connect
from kernelwire.errors import KernelRestarted, LaunchFailed, NotSupported
from kernelwire.execution import InputRequest
from kernelwire.raw_channels import open_channels
from kernelwire_inprocess import IPythonKernel, ipython


async def answer(question: InputRequest) -> str:
    return f"{question.prompt}{question.password}"


async def error_of(client: KernelClient, code: str) -> str:
    error = (await client.execute(code)).error
    assert error is not None, code
    return error[0]


async def test_values_and_prompts(opened: Any) -> None:
    client: KernelClient = await opened()
    for number in (1, 2):
        result = await client.execute("1 + 1")
        assert (result.data, result.execution_count) == ({"text/plain": "2"}, number)
        shown = result.outputs[-1]
        assert (shown.msg_type, shown.content["execution_count"]) == ("execute_result", number)
    assert (await client.execute("Out[1]", store_history=False)).data == {"text/plain": "2"}
    assert (await client.execute("_1 + _2;")).data is None
    assert (await client.execute("3", silent=True)).outputs == ()
    assert (await client.execute("")).status == "ok"
    info = (await client.kernel_info()).content
    assert (info["implementation"], info["language_info"]["name"]) == ("ipython", "python")


async def test_streams_of_the_code_and_of_nothing_else(opened: Any, capfd: pytest.CaptureFixture[str]) -> None:
    client: KernelClient = await opened()
    mine = sys.stdout
    code = "import sys\nprint('out')\nprint('err', file=sys.stderr)"
    execution = client.execute(code)
    printed = {"stdout": "", "stderr": ""}
    async for message in execution:
        print("from the loop")
        if message.msg_type == "stream":
            printed[message.content["name"]] += message.content["text"]
    assert printed == {"stdout": "out\n", "stderr": "err\n"}
    assert sys.stdout is mine


async def test_streams_come_while_the_code_runs(opened: Any) -> None:
    going = threading.Event()
    client: KernelClient = await opened({"going": going})
    execution = client.execute("print('first')\ngoing.wait()\nprint('second')")
    async for message in execution:
        if message.msg_type == "stream" and "first" in message.content["text"]:
            going.set()
    assert (await execution).status == "ok"


async def test_threads_of_the_code_print_to_its_cell() -> None:
    going = threading.Event()
    start = "import threading\nt = threading.Thread(target=lambda: (going.wait(), print('late')))\nt.start()"
    async with ipython({"going": going}) as info, connect(info) as client, open_channels(info) as kernel:
        await kernel.ready()
        first = kernel.session.message("execute_request", {"code": start})
        async with kernel.iopub.subscribe(msg_type="stream", parent=first) as printed:
            await kernel.shell.send(first)
            await kernel.shell.receive()
            assert (await client.execute("going.set()\nt.join()")).text == ""
            assert (await printed.receive()).content["text"].startswith("late")
        assert (await client.execute("t = threading.Thread(target=print)\nt.start()\nt.join()")).text == "\n"


async def test_rich_display(opened: Any) -> None:
    client: KernelClient = await opened()
    code = (
        "from IPython.display import HTML, Image, clear_output\n"
        "handle = display(HTML('<b>1</b>'), display_id='d')\n"
        "handle.update(HTML('<b>2</b>'))\n"
        "clear_output(wait=True)\n"
        "display(Image(data=b'\\x89PNG', format='png'))"
    )
    _, shown, updated, cleared, image = (await client.execute(code)).outputs
    assert (shown.msg_type, shown.content["transient"]) == ("display_data", {"display_id": "d"})
    assert shown.content["data"]["text/html"] == "<b>1</b>"
    assert (updated.msg_type, updated.content["data"]["text/html"]) == ("update_display_data", "<b>2</b>")
    assert (cleared.msg_type, cleared.content) == ("clear_output", {"wait": True})
    assert image.content["data"]["image/png"].strip() == "iVBORw=="


@pytest.mark.parametrize(
    ("code", "name"), [("1 / 0", "ZeroDivisionError"), ("1 +", "SyntaxError"), ("%nosuch", "UsageError")]
)
async def test_errors(opened: Any, code: str, name: str) -> None:
    client: KernelClient = await opened()
    result = await client.execute(code)
    assert result.error is not None
    assert result.error[0] == name or name == "UsageError"
    assert [each.msg_type for each in result.outputs].count("error") <= 1
    assert (await client.execute("1")).status == "ok"


async def test_an_error_has_its_traceback(opened: Any) -> None:
    client: KernelClient = await opened()
    result = await client.execute("def f():\n    1 / 0\nf()")
    assert result.error is not None
    assert result.outputs[-1].msg_type == "error"
    assert result.outputs[-1].content["traceback"] == result.error[2]
    assert any("ZeroDivisionError" in line for line in result.error[2])
    assert not any("kernelwire" in line for line in result.error[2])


async def test_completion_inspection_completeness_history(opened: Any) -> None:
    client: KernelClient = await opened({"something": 1})
    assert "something" in (await client.complete("somet")).content["matches"]
    found = (await client.inspect("len")).content
    assert found["found"]
    assert "text/plain" in found["data"]
    assert not (await client.inspect("nosuchname")).content["found"]
    for code, status in (("a", "complete"), ("for a in b:", "incomplete"), ("a b", "invalid")):
        assert (await client.request("is_complete_request", {"code": code})).content["status"] == status
    await client.execute("a = 1")
    for how in ({"hist_access_type": "tail", "n": 5}, {"hist_access_type": "range"}, {"hist_access_type": "search"}):
        history = (await client.request("history_request", how)).content["history"]
        assert history[-1][2] == "a = 1"
    assert (await client.request("history_request", {"hist_access_type": "odd"})).content["history"] == []


async def test_questions(opened: Any) -> None:
    client: KernelClient = await opened(input_hook=answer)
    assert (await client.execute("input('name? ')")).data == {"text/plain": "'name? False'"}
    assert (await client.execute("import getpass; getpass.getpass('pw ')")).data == {"text/plain": "'pw True'"}


async def test_questions_that_nobody_answers(opened: Any) -> None:
    client: KernelClient = await opened()
    assert await error_of(client, "input()") == "StdinNotImplementedError"


async def test_an_interrupt_of_a_question(opened: Any) -> None:
    asked = asyncio.Event()

    async def never(_question: InputRequest) -> str:
        asked.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    client: KernelClient = await opened(input_hook=never)
    task = asyncio.create_task(error_of(client, "input()"))
    await asked.wait()
    await client.interrupt()
    assert await task == "KeyboardInterrupt"


@pytest.mark.parametrize(
    "body", ["while True: pass", "await asyncio.sleep(1000)", "while True: await asyncio.sleep(0)"]
)
async def test_interrupts(opened: Any, body: str) -> None:
    client: KernelClient = await opened()
    await client.interrupt()
    execution = client.execute(f"import asyncio\nprint('begun')\n{body}")
    async for message in execution:
        if message.msg_type == "stream":
            await client.interrupt()
    error = (await execution).error
    assert error is not None
    assert error[0] == "KeyboardInterrupt"
    assert (await client.execute("1")).data == {"text/plain": "1"}


async def test_code_that_awaits_and_tasks_that_stay(opened: Any) -> None:
    client: KernelClient = await opened()
    await client.execute("import asyncio\nasync def later():\n    await asyncio.sleep(0)\n    return 7")
    await client.execute("task = asyncio.create_task(later())")
    assert (await client.execute("await task")).data == {"text/plain": "7"}


async def test_the_namespace_is_shared_and_a_restart_makes_it_what_it_was(opened: Any) -> None:
    shared: list[int] = []
    user_ns: dict[str, Any] = {"shared": shared}
    client: KernelClient = await opened(user_ns)
    await client.execute("shared.append(1); new = 2")
    assert (shared, user_ns["new"]) == ([1], 2)
    before = threading.enumerate()
    await client.request("shutdown_request", {"restart": True}, channel=Channel.CONTROL)
    assert "new" not in user_ns
    result = await client.execute("shared")
    assert (result.data, result.execution_count) == ({"text/plain": "[1]"}, 1)
    assert len(threading.enumerate()) <= len(before)


async def test_a_restart_ends_what_runs(opened: Any) -> None:
    client: KernelClient = await opened()
    begun = asyncio.Event()

    async def run() -> None:
        async for message in client.execute("print('begun')\nwhile True: pass"):
            if message.msg_type == "stream":
                begun.set()

    running = asyncio.create_task(run())
    await begun.wait()
    await client.request("shutdown_request", {"restart": True}, channel=Channel.CONTROL)
    with pytest.raises(KernelRestarted):
        await running
    assert (await client.execute("1")).status == "ok"


async def test_several_clients_and_several_kernels(no_thread_is_left: None) -> None:
    async with (
        ipython() as info,
        ipython() as other_info,
        connect(info) as first,
        connect(info) as second,
        connect(other_info) as other,
    ):
        await first.execute("a = 1")
        assert (await second.execute("a")).data == {"text/plain": "1"}
        assert await error_of(other, "a") == "NameError"
        code = "for number in range(50):\n    print({}, end='')\n{}"
        results = await asyncio.gather(*(_result(each, code.format(n, n)) for n, each in ((1, second), (2, other))))
        for number, result in zip((1, 2), results, strict=True):
            assert (result.text, result.data) == (str(number) * 50, {"text/plain": str(number)})
        assert (await first.execute("get_ipython() is __import__('IPython').get_ipython()")).data == {
            "text/plain": "True"
        }


async def _result(client: KernelClient, code: str) -> Any:
    return await client.execute(code)


async def test_nothing_of_the_process_is_changed_in_the_end(no_thread_is_left: None) -> None:
    main, hook = sys.modules["__main__"], sys.displayhook
    async with ipython() as info, connect(info) as client:
        assert (await client.execute("__name__")).data == {"text/plain": "'__main__'"}
        assert sys.modules["__main__"] is main
        from IPython.core.interactiveshell import InteractiveShell

        assert not InteractiveShell.initialized()
    assert "instance" not in vars(InteractiveShell)
    assert sys.displayhook is hook
    assert not hasattr(sys.stdout, "_route")


async def test_it_ends_while_code_runs(no_thread_is_left: None) -> None:
    async with ipython() as info, connect(info) as client:
        async for message in client.execute("print('begun')\nwhile True: pass"):
            if message.msg_type == "stream":
                break


async def test_more_for_the_reply(opened: Any) -> None:
    client: KernelClient = await opened()
    reply = (await client.execute("a = 1", user_expressions={"b": "a + 1"})).reply.content
    assert reply["user_expressions"]["b"]["data"] == {"text/plain": "2"}
    reply = (await client.execute("len?")).reply.content
    assert reply["payload"][0]["source"] == "page"


async def test_on_tcp_too(no_thread_is_left: None) -> None:
    async with ipython(connection="tcp") as info, connect(info) as client:
        await client.ready(60)
        assert (await client.execute("1 + 1")).data == {"text/plain": "2"}


async def test_without_ipython(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(LaunchFailed, match=r"pip install 'kernelwire\[ipython\]'"):
        ipython()


async def test_before_it_is_served() -> None:
    with pytest.raises(NotSupported, match="give it to kernelwire"):
        await IPythonKernel().interrupt()
