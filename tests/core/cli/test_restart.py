"""``kernelwire restart``: another process in the same place, or the old one untouched, or a file to try again with."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from integration._fake_kernel import LAST_WORDS, fake
from kernelwire.cli.running import read
from kernelwire.client import connect
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile

PATIENCE = 60

with_and_without_a_keeper = pytest.mark.parametrize("transport", ["ipc", "wire"])


def address(file: str) -> ConnectionInfo:
    """All that clients need."""
    return read(Path(file)).info.replace(extra={})


@with_and_without_a_keeper
async def test_another_process_in_the_same_place(station: Any, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(station.environment["PYTHONPATH"])
    (station.directory / "here").mkdir()
    report = await station.start_kernel(
        "good", "--transport", transport, "--cwd", "here", "--env", "A=a secret", "--argument", "more"
    )
    file = report["connection_file"]
    before = address(file)
    async with connect(before) as client:
        await client.ready(PATIENCE)
        assert await station.run("restart", file) == (0, "", "")
        # The client of before has stayed.
        async with asyncio.timeout(PATIENCE):
            pid = int((await client.execute("pid")).text)
    assert pid != report["pid"]
    assert address(file) == before
    for code, said in (("cwd", str(station.directory / "here")), ("env A", "a secret"), ("argv", "more")):
        assert await station.say(file, code) == said
    # And once more: what is known of it is not lost.
    assert await station.run("restart", "--now", file) == (0, "", "")
    assert await station.say(file, "env A") == "a secret"
    assert int(await station.say(file, "pid")) not in (pid, report["pid"])
    await station.stop(file)


async def test_a_real_kernel(station: Any) -> None:
    report = await station.start_kernel("python3")
    file = report["connection_file"]
    before = address(file)
    await station.run("exec", "--connect", file, "x = 1")
    assert await station.run("restart", file) == (0, "", "")
    assert address(file) == before
    assert await station.say(file, "print('x' in globals())") == "False"
    # One that has died comes back too.
    os.kill(int(await station.say(file, "import os; print(os.getpid())")), signal.SIGKILL)
    assert await station.run("restart", file) == (0, "", "")
    assert address(file) == before
    assert await station.say(file, "print('well')") == "well"
    await station.stop(file)


# What goes wrong


@with_and_without_a_keeper
async def test_a_kernelspec_that_is_gone(station: Any, transport: str) -> None:
    station.install("mine", fake("good"))
    report = await station.start_kernel("mine", "--transport", transport)
    file = report["connection_file"]
    station.uninstall("mine")
    code, out, err = await station.run("restart", file)
    assert (code, out) == (2, "")
    assert "no kernelspec 'mine'" in err
    assert await station.say(file, "pid") == str(report["pid"])
    await station.stop(file)


@with_and_without_a_keeper
@pytest.mark.parametrize("behaviour", ["exits", "no command"])
async def test_a_kernel_that_does_not_come_back(station: Any, transport: str, behaviour: str) -> None:
    station.install("mine", fake("good"))
    file = (await station.start_kernel("mine", "--transport", transport))["connection_file"]
    station.install("mine", fake("exits") if behaviour == "exits" else ["/nowhere/kernel"])
    code, out, err = await station.run("restart", file)
    assert (code in (2, 3), out) == (True, "")
    assert (LAST_WORDS if behaviour == "exits" else "/nowhere/kernel cannot be started") in err
    assert "Traceback" not in err
    if transport == "ipc":  # it can be tried again
        station.install("mine", fake("good"))
        assert await station.run("restart", file) == (0, "", "")
        assert await station.say(file, "pid")
        await station.stop(file)
    assert station.left() == []


@with_and_without_a_keeper
async def test_a_kernel_that_never_answers(station: Any, transport: str) -> None:
    station.install("mine", fake("good"))
    file = (await station.start_kernel("mine", "--transport", transport))["connection_file"]
    station.install("mine", fake("mute"))
    code, out, err = await station.run("restart", "--timeout", "0.5", file)
    assert (code, out) == (3, "")
    assert "within 0.5 s" in err
    await station.stop("--now", file)


async def test_an_impatient_user(station: Any) -> None:
    station.install("mine", fake("good"))
    file = (await station.start_kernel("mine"))["connection_file"]
    station.install("mine", fake("mute"))
    process = await station.start("restart", file)
    assert (await process.stderr.readline()).startswith(b"kernelwire: waiting")
    # While it waits nobody else may end what it has started, and so lose it.
    code, _, err = await station.run("stop", "--now", file)
    assert (code, "another command is stopping or restarting this kernel" in err) == (2, True)
    process.send_signal(signal.SIGINT)
    assert (await station.end(process)).code == 130
    assert station.alive() == []
    await station.stop(file)


async def test_a_keeper_that_is_gone(station: Any) -> None:
    report = await station.start_kernel("good", "--transport", "wire")
    os.kill(report["keeper_pid"], signal.SIGKILL)
    code, out, err = await station.run("restart", report["connection_file"])
    assert (code, out) == (3, "")
    assert "the process that kept this kernel is gone; 'kernelwire stop' removes what is left" in err
    await station.run("stop", "--now", report["connection_file"])


async def test_somebody_else_s_kernel(station: Any) -> None:
    path = ConnectionFile.write(
        ConnectionInfo(transport="ipc", ip=str(station.sockets / "k"), control_port=1, kernel_name="good"),
        station.directory / "other.json",
    ).path
    before = path.read_bytes()
    code, out, err = await station.run("restart", "other.json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "'kernelwire start' did not start this kernel here, so how to start it again is not known" in err
    assert f"kernelwire stop {path}; kernelwire start --kernel good --connection-file {path}" in err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [([], "FILE"), (["nothing.json"], "no file "), (["--timeout", "0", "x"], "0: a number of seconds above 0")],
)
async def test_what_cannot_be_used(station: Any, arguments: list[str], says: str) -> None:
    code, out, err = await station.run("restart", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err


async def test_a_kernel_that_a_host_serves(station: Any) -> None:
    info = ConnectionInfo(transport="socketio", kernel_name="good").replace(relay="http://127.0.0.1:1")
    file = ConnectionFile.write(info, station.directory / "far.json").path
    done = await station.run("restart", "far.json")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"kernelwire: {file}: this kernel runs at a host that takes no requests")
