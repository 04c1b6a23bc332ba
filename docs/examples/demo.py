"""What `make demo` shows: real IPython kernels over ipc, over tcp, over a bridge of the two, and through a relay.

The same function talks to all of them; only the connection information differs. At the end the relay is killed and
started again in the middle of some output.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import kernelwire
from kernelwire import registry

SLOW_PRINT = """
import time
for step in range(1, 4):
    print(f"step {step} of 3", flush=True)
    time.sleep(0.3)
"""

RICH = """
from IPython.display import HTML, display
display(HTML("<b>bold</b>"))
6 * 7
"""


async def answer(request: kernelwire.InputRequest) -> str:
    """What a user would type."""
    return "Ada"


async def tour(title: str, info: kernelwire.ConnectionInfo) -> None:
    """Everything that a client does, once."""
    print(f"\n━━ {title} " + "━" * (70 - len(title)))
    started = time.perf_counter()
    async with kernelwire.connect(info, input_hook=answer) as client:
        reply = await client.ready(timeout=60)
        language = reply.content["language_info"]
        show("kernel", f"{language['name']} {language['version']}, ready after {time.perf_counter() - started:.2f} s")

        started = time.perf_counter()
        async for message in client.execute(SLOW_PRINT):
            if message.msg_type == "stream":
                elapsed = time.perf_counter() - started
                show("stream", f"{message.content['text'].strip()}   (+{elapsed:.1f} s, as it comes)")

        result = await client.execute(RICH)
        for output in result.outputs:
            if output.msg_type == "display_data":
                show("display", f"{output.content['data']['text/html']}")
        show("result", f"{result.data and result.data['text/plain']}")

        result = await client.execute("1 / 0")
        assert result.error is not None
        name, value, traceback = result.error
        show("error", f"{name}: {value}, with a traceback of {len(traceback)} lines")

        completions = await client.complete("import collec")
        show("complete", f"import collec… → {', '.join(completions.content['matches'][:3])}")

        result = await client.execute("print('Hello,', input('your name? '))")
        show("input", result.text.strip())


def show(what: str, text: str) -> None:
    """One line of the tour."""
    print(f"  {what:9}{text}", flush=True)


@asynccontextmanager
async def ipython_kernel(transport: str) -> AsyncIterator[kernelwire.ConnectionInfo]:
    """A real IPython kernel in a process of its own, ended when the context is left."""
    backend = registry.load(transport)
    info = backend.prepare(kernelwire.ConnectionInfo(transport=transport, key=kernelwire.new_key()))
    with kernelwire.ConnectionFile.write(info) as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", str(file.path)),
            "--log-level=ERROR",
            stdout=asyncio.subprocess.DEVNULL,  # its advice for a terminal
        )
        try:
            yield info
        finally:
            process.terminate()
            await process.wait()
            backend.release(info)


LINES = 60

COUNTING = f"""
import time
for line in range({LINES}):
    print("line", line, flush=True)
    time.sleep(0.05)
"""

PIPE = asyncio.subprocess.PIPE


async def command(*words: str) -> asyncio.subprocess.Process:
    """A process of its own, without its log."""
    program = (sys.executable, "-m", "kernelwire.cli")
    return await asyncio.create_subprocess_exec(*program, *words, stdout=PIPE, stderr=asyncio.subprocess.DEVNULL)


async def relay(port: int = 0) -> tuple[asyncio.subprocess.Process, str]:
    """A relay, and its address."""
    process = await command("relay", "--port", str(port))
    assert process.stdout is not None
    return process, (await process.stdout.readline()).decode().strip()


async def behind_a_relay(directory: Path) -> None:
    """A kernel that nobody can connect to: relay, host and client, each in a process of its own."""
    print("\n━━ a kernel behind a relay, which dies " + "━" * 33)
    middle, url = await relay()
    file = str(directory / "kernel.json")
    host = await command("host", "--relay", url, "--output", file)
    assert host.stdout is not None
    try:
        await host.stdout.readline()  # the file is there
        client = await command("exec", "--connect", file, COUNTING)
        assert client.stdout is not None
        printed = []
        while line := (await client.stdout.readline()).decode():
            printed.append(line.strip())
            if len(printed) == LINES // 3:
                middle.kill()
                await middle.wait()
                show("relay", f"killed with -9 after {printed[-1]!r}")
                middle, _ = await relay(int(url.rpartition(":")[2]))
                show("relay", "started again")
        code = await client.wait()
        assert printed == [f"line {number}" for number in range(LINES)]
        show("client", f"{len(printed)} lines, each once and in order; the cell finished, exit code {code}")
    finally:
        for process in (host, middle):
            process.terminate()
            await process.wait()


async def main() -> None:
    """The four scenes."""
    async with ipython_kernel("ipc") as over_ipc, ipython_kernel("tcp") as over_tcp:
        await tour("IPython over ipc", over_ipc)
        await tour("IPython over tcp", over_tcp)
        near = kernelwire.ConnectionInfo(transport="tcp", key=kernelwire.new_key())
        async with kernelwire.open_bridge(over_ipc, near) as bridged:
            await tour("the first kernel again, bridged from ipc to tcp, under another key", bridged)
    with tempfile.TemporaryDirectory() as directory:
        await behind_a_relay(Path(directory))


if __name__ == "__main__":
    asyncio.run(main())
