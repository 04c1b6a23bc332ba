"""``kernelwire interrupt``: by a signal, by a message, and never by a wait for the dead."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile, read


async def interrupted(station: Any, file: str, code: str, first: bytes) -> Any:
    """How `exec` ends if what it runs is interrupted after its first output."""
    process = await station.start("exec", "--connect", file, code)
    assert await process.stdout.readexactly(len(first)) == first
    assert await station.run("interrupt", file) == (0, "", "")
    return await station.end(process)


@pytest.mark.parametrize("transport", ["ipc", "wire"])
@pytest.mark.parametrize("kernel", ["good", "message"])
async def test_an_interrupt(station: Any, kernel: str, transport: str) -> None:
    file = (await station.start_kernel(kernel, "--transport", transport))["connection_file"]
    code, out, err = await interrupted(station, file, "wait", b"waiting")
    assert (code, out) == (1, "")
    assert "InterruptedError" in err
    await station.stop(file)


async def test_a_real_kernel(station: Any) -> None:
    file = (await station.start_kernel("python3"))["connection_file"]
    code, _, err = await interrupted(station, file, "print('up', flush=True); import time; time.sleep(1000)", b"up\n")
    assert code == 1
    assert "KeyboardInterrupt" in err
    # One whose process is not known here is asked.
    ConnectionFile.write(read(file).replace(kernelwire=None), station.directory / "copy.json")
    copy = str(station.directory / "copy.json")
    assert (await interrupted(station, copy, "print('up', flush=True); time.sleep(1000)", b"up\n")).code == 1
    assert await station.say(file, "print('well')") == "well"
    await station.stop(file)


async def test_a_dead_kernel(station: Any) -> None:
    report = await station.start_kernel("good")
    os.kill(report["pid"], signal.SIGKILL)
    file = report["connection_file"]
    done = await station.run("interrupt", file)
    assert done == (3, "", f"kernelwire: {file}: the kernel is dead; 'kernelwire stop' removes what is left of it\n")
    await station.stop(file)


async def test_a_kernel_that_does_not_answer(station: Any) -> None:
    info = ConnectionInfo(transport="ipc", ip=str(station.sockets / "k"), control_port=1, shell_port=2)
    with ConnectionFile.write(info, station.directory / "lost.json") as file:
        code, out, err = await station.run("interrupt", "--timeout", "0.3", "lost.json")
        doubt = "nobody listens at its address: it is dead, or has not begun yet"
        assert (code, out, err) == (3, "", f"kernelwire: no reply to interrupt_request within 0.3 s; {doubt}\n")
        os.utime(file.path, (0, 0))  # it is not just starting
        code, out, err = await station.run("interrupt", "lost.json")
        assert (code, out) == (3, "")
        assert "the kernel is dead" in err


async def test_an_impatient_user(station: Any) -> None:
    info = ConnectionInfo(transport="ipc", ip=str(station.sockets / "k"), control_port=1, shell_port=2)
    with ConnectionFile.write(info, station.directory / "lost.json"):
        process = await station.start("interrupt", "--timeout", "1000", "lost.json")
        await asyncio.to_thread(until_it_handles_signals, process.pid)
        process.send_signal(signal.SIGINT)
        assert await station.end(process) == (130, "", "")


def until_it_handles_signals(pid: int) -> None:
    """SIGTERM is caught once the command has set up its loop."""
    while True:
        fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        if int(fields["SigCgt"], 16) >> signal.SIGTERM - 1 & 1:
            return


@pytest.mark.parametrize(
    ("arguments", "says"),
    [([], "FILE"), (["nothing.json"], "no file "), (["--timeout", "0", "x"], "0: a number of seconds above 0")],
)
async def test_what_cannot_be_used(station: Any, arguments: list[str], says: str) -> None:
    code, out, err = await station.run("interrupt", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err
