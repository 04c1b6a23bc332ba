"""Numbered lines of a real kernel behind a real host and a real relay, while something is cut in the middle of them."""

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from integration._fault_proxy import Ending, Trouble, proxied
from integration._relays import PATIENCE, RelayProcess
from kernelwire import connection_file
from kernelwire.client import KernelClient, connect
from kernelwire.connection import ConnectionInfo
from kernelwire.link.peer import Timing
from kernelwire_socketio import SocketioBackend

PAUSE: Final = 0.01
"""Seconds from one line to the next."""

ENDINGS: Final = {
    "clean close": Ending.FIN,
    "reset": Ending.RST,
    "silent link": Ending.BLACK_HOLE,
    "second client": Ending.RST,
}
CUTS: Final = (*ENDINGS, "new process", "relay killed")


class Seen(NamedTuple):
    """What a client has seen.

    Attributes:
        lost, repeated: lines.
        finished: whether its request ended well.
    """

    lost: int
    repeated: int
    finished: bool


@asynccontextmanager
async def hosted(relay: RelayProcess, directory: Path) -> AsyncIterator[ConnectionInfo]:
    """An ipykernel behind ``kernelwire host``; yields where."""
    file = directory / "kernel.json"
    command = ["host", "--relay", relay.url, "--kernel", "python3", "--output", str(file), "--json"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kernelwire.cli", *command), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            assert json.loads(await process.stdout.readline())["event"] == "ready"
        yield connection_file.read(file)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def numbered(info: ConnectionInfo, relay: RelayProcess, cut: str, count: int, directory: Path) -> Seen:
    """So many lines, with one of :data:`CUTS` after a quarter of them."""
    code = f"import time\nfor number in range({count}):\n    print(number, flush=True)\n    time.sleep({PAUSE})"
    endings = {
        "clean close": Ending.FIN,
        "reset": Ending.RST,
        "silent link": Ending.BLACK_HOLE,
        "second client": Ending.RST,
    }
    # What comes before the first line is some 6,000 bytes.
    ending = endings.get(cut, Ending.NEVER)
    trouble = Trouble(ending, 6_000 + 150 * count)
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxied(int(relay.url.rsplit(":", 1)[1]), first(trouble)))
        near = info.replace(relay=f"http://127.0.0.1:{proxy.port}")
        client = await stack.enter_async_context(connect(near))
        await client.ready(PATIENCE)
        if cut == "second client":
            second = await stack.enter_async_context(connect(info))
            await second.ready(PATIENCE)
        if cut == "new process":
            return await _new_process(client, near, code, count, directory)
        killing = asyncio.create_task(_kill(relay, count)) if cut == "relay killed" else None
        text, finished = await _run(client, code)
        if killing is not None:
            await killing
        assert proxy.disconnects == (ending is not Ending.NEVER), f"{cut}: there was none"
    return _counted(text, count, finished=finished)


@asynccontextmanager
async def impatient() -> AsyncIterator[None]:
    """Silence is noticed sooner here than otherwise."""
    before = SocketioBackend.timing
    SocketioBackend.timing = Timing(ping_after=0.3, dead_after=1.0)
    try:
        yield
    finally:
        SocketioBackend.timing = before


def first(trouble: Trouble) -> Callable[[], Trouble]:
    """The first connection has it, the others have none."""
    troubles = itertools.chain([trouble], itertools.repeat(Trouble()))
    return lambda: next(troubles)


async def _run(client: KernelClient, code: str) -> tuple[str, bool]:
    async with asyncio.timeout(PATIENCE):
        result = await client.execute(code)
    return result.text, result.status == "ok"


async def _kill(relay: RelayProcess, count: int) -> None:
    await asyncio.sleep(PAUSE * count / 4)
    await asyncio.to_thread(relay.kill)
    await asyncio.to_thread(relay.start)


async def _new_process(client: KernelClient, info: ConnectionInfo, code: str, count: int, directory: Path) -> Seen:
    """The one who has asked is gone without a word; another process reads it all."""
    file = directory / "again.json"
    file.touch(0o600)
    file.write_text(json.dumps(info.to_dict()))
    asking = asyncio.create_task(_run(client, code))
    await asyncio.sleep(PAUSE * count / 4)
    script = str(Path(__file__).with_name("_relay_reader.py"))
    command = (sys.executable, script, str(file), code)
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    async with asyncio.timeout(PATIENCE):
        said, _ = await process.communicate()
    return _counted(said.decode(), count, finished=process.returncode == 0)


def _counted(text: str, count: int, *, finished: bool) -> Seen:
    lines = text.split()
    assert lines == sorted(lines, key=int), "they are in disorder"
    return Seen(count - len(set(lines)), len(lines) - len(set(lines)), finished)
