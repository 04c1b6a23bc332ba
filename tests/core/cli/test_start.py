"""``kernelwire start`` as its user meets it: a kernel that goes on, or nothing at all."""

import asyncio
import json
import os
import re
import shutil
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from integration._fake_kernel import LAST_WORDS
from kernelwire.connection_file import read

from ._station import WAITING

PATIENCE = 60

every_wire = pytest.mark.parametrize("transport", ["tcp", "ipc", "wire"])
with_and_without_a_keeper = pytest.mark.parametrize("transport", ["ipc", "wire"])


# What is started


async def test_a_real_kernel(station: Any) -> None:
    report = await station.start_kernel("python3", "--transport", "ipc")
    file = report["connection_file"]
    assert (report["kernel_name"], report["transport"]) == ("python3", "ipc")
    assert report["keeper_pid"] is None
    assert Path(file).parent == station.runtime
    assert read(file).transport == "ipc"
    # It is there for one command after another, and in nobody's session.
    assert await station.say(file, "import os; print(os.getpid(), os.getsid(0))") == f"{report['pid']} {report['pid']}"
    assert await station.say(file, "import os; print(os.environ.get('JPY_PARENT_PID'))") == "None"
    await station.stop(file)
    assert station.left() == []


async def test_the_kernel_of_this_python_on_tcp_is_the_default(station: Any) -> None:
    code, out, err = await station.run("start")
    assert (code, err, out.count("\n")) == (0, "", 1)
    path = Path(out.strip())
    info = read(path)
    assert (info.transport, info.kernel_name) == ("tcp", "python3")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await station.stop(path.name)


async def test_a_transport_of_somebody_elses(station: Any) -> None:
    report = await station.start_kernel("python3", "--transport", "wire")
    keeper = psutil.Process(report["keeper_pid"])
    assert psutil.Process(report["pid"]).ppid() == keeper.pid
    assert await station.say(report["connection_file"], "import os; print(os.getpid())") == str(report["pid"])
    await station.stop(report["connection_file"])
    assert station.left() == []


async def test_a_keeper_ends_with_its_kernel(station: Any) -> None:
    report = await station.start_kernel("good", "--transport", "wire")
    os.kill(report["pid"], signal.SIGKILL)
    async with asyncio.timeout(PATIENCE):
        while station.left():
            await asyncio.sleep(0.02)


@with_and_without_a_keeper
async def test_what_is_set(station: Any, transport: str) -> None:
    (station.directory / "here").mkdir()
    report = await station.start_kernel(
        *("good", "--transport", transport, "--connection-file", "my.json", "--cwd", "here"),
        *("--env", "FIRST=a secret", "--env", "SECOND=b=c", "--argument=--more", "--argument", "words"),
    )
    file = report["connection_file"]
    assert file == str(station.directory / "my.json")
    assert await station.say(file, "cwd") == str(station.directory / "here")
    assert await station.say(file, "env FIRST") == "a secret"
    assert await station.say(file, "env SECOND") == "b=c"
    assert await station.say(file, "argv") == "--more words"
    # Others can read the commands of processes.
    assert not any("secret" in word for process in station.alive() for word in process.cmdline())
    await station.stop(file)
    assert not Path(file).exists()


async def test_names_that_are_no_text(station: Any) -> None:
    directory = os.fsdecode(b"here\xff")
    (station.directory / directory).mkdir()
    value = os.fsdecode(b"x\xfey")
    report = await station.start_kernel("python3", "--transport", "wire", "--cwd", directory, "--env", f"A={value}")
    file = report["connection_file"]
    for _ in range(2):
        code = "import os; print(os.environb[b'A'] == b'x\\xfey', os.getcwdb().endswith(b'\\xff'))"
        assert await station.say(file, code) == "True True"
        assert (await station.run("restart", file)).code == 0
    await station.stop(file)


async def test_an_encrypted_wire(station: Any) -> None:
    report = await station.start_kernel("python3", "--encryption", "required")
    assert read(report["connection_file"]).curve_publickey
    assert await station.say(report["connection_file"], "print('well')") == "well"
    await station.stop(report["connection_file"])


async def test_a_module_of_the_current_directory_is_not_taken_for_another(station: Any) -> None:
    (station.directory / "kernelwire").mkdir()
    (station.directory / "kernelwire" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("kernelwire")), "start", "--kernel", "good", "--transport", "wire"),
        cwd=station.directory,
        env=station.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    shutil.rmtree(station.directory / "kernelwire")
    await station.stop(out.decode().strip())


async def test_the_commands_of_the_page(station: Any) -> None:
    page = Path(__file__).parents[3] / "docs" / "howto" / "keep-a-kernel-running.md"
    commands = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)[0]
    printed = re.findall(r"```text\n(.*?)```", page.read_text(), re.DOTALL)[0]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    shell = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-e", "-c", commands),
        cwd=station.directory,
        env=station.environment | {"PATH": path},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        out, _ = await shell.communicate()
    assert out.decode() == printed
    assert json.loads((station.directory / "stopped.json").read_text())[0]["outcome"] == "stopped"


# In the foreground


@with_and_without_a_keeper
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_the_foreground_ends_by_a_signal(station: Any, transport: str, signum: int) -> None:
    process = await station.start("start", "--foreground", "--kernel", "good", "--transport", transport)
    file = (await process.stdout.readline()).decode().strip()
    assert await station.say(file, "pid")
    process.send_signal(signum)
    assert (await station.end(process)).code == 130
    assert station.left() == []


@with_and_without_a_keeper
async def test_the_foreground_ends_with_its_kernel(station: Any, transport: str) -> None:
    process = await station.start("start", "--foreground", "--json", "--kernel", "good", "--transport", transport)
    report = json.loads(await process.stdout.readline())
    assert report["keeper_pid"] == process.pid
    await station.stop(report["connection_file"])
    assert await station.end(process) == (0, "", "")


async def test_the_foreground_says_how_its_kernel_died(station: Any) -> None:
    process = await station.start("start", "--foreground", "--kernel", "good")
    file = (await process.stdout.readline()).decode().strip()
    await station.start("exec", "--connect", file, "die")
    code, _, err = await station.end(process)
    assert code == 3
    assert f"kernelwire: the kernel's process ended with exit code 3; its last words:\n{LAST_WORDS}\n" in err


# What does not come to be


@every_wire
async def test_a_kernel_that_exits(station: Any, transport: str) -> None:
    code, out, err = await station.run("start", "--kernel", "exits", "--transport", transport)
    assert (code, out) == (3, "")
    assert err == f"kernelwire: the kernel's process ended with exit code 1; its last words:\n{LAST_WORDS}\n"
    assert station.left() == []


@every_wire
async def test_a_kernel_that_never_answers(station: Any, transport: str) -> None:
    code, out, err = await station.run("start", "--kernel", "mute", "--transport", transport, "--timeout", "0.5")
    assert (code, out) == (3, "")
    assert err.startswith("kernelwire: the kernel did not answer within 0.5 s")
    assert station.left() == []


@pytest.mark.parametrize(
    ("transport", "signum"),
    [("tcp", signal.SIGINT), ("ipc", signal.SIGTERM), ("wire", signal.SIGINT), ("wire", signal.SIGHUP)],
)
async def test_an_interrupted_start_leaves_nothing(station: Any, transport: str, signum: int) -> None:
    process = await station.start("start", "--kernel", "mute", "--transport", transport)
    assert (await process.stderr.readline()).decode() == WAITING
    assert station.left() != []
    for _ in range(3):  # impatience changes nothing
        process.send_signal(signum)
    code, out, _ = await station.end(process)
    assert code in (130, -signum)  # the last of them may come when all is done but the exit
    assert out == ""
    assert station.left() == []


async def test_an_interrupted_start_of_a_real_kernel(station: Any) -> None:
    process = await station.start("start", "--transport", "ipc")
    async with asyncio.timeout(PATIENCE):
        while not station.left():
            await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert (await station.end(process)).code in (130, 0)
    if file := next(iter(station.runtime.glob("kernel-*.json")), None):  # it was faster
        await station.stop(str(file))


@with_and_without_a_keeper
async def test_nobody_to_tell(station: Any, transport: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = await station.start("start", "--kernel", "good", "--transport", transport, stdout=writing)
    os.close(writing)
    assert await station.end(process) == (1, "", "")
    assert station.left() == []


@with_and_without_a_keeper
async def test_a_file_that_is_there(station: Any, transport: str) -> None:
    report = await station.start_kernel("good", "--transport", transport)
    file = report["connection_file"]
    before = Path(file).read_bytes()
    done = await station.run("start", "--kernel", "good", "--transport", transport, "--connection-file", file)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"--connection-file {file}: exists already" in done.err
    assert f"kernelwire stop {file}" in done.err
    assert Path(file).read_bytes() == before
    await station.stop(file)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--kernel", "goud"], "no kernelspec 'goud'; there are: good"),
        (["--transport", "wirr"], "did you mean 'wire'?"),
        (["--transport", "inprocess"], "no other reaches it; use tcp or ipc"),
        (["--transport", "inprocess", "--foreground"], "no other reaches it"),
        (["--transport", "rooms"], "transport 'rooms' does not reach another process"),
        (["--cwd", "nowhere"], "nowhere: No such file or directory"),
        (["--ip", "8.8.8.8"], "'8.8.8.8' is no address of this machine"),
        (["--ip", "8.8.8.8", "--transport", "wire"], "'8.8.8.8' is no address of this machine"),
        (["--connection-file", "/proc/x.json"], "/proc/x.json: cannot be written"),
        (["--connection-file", "/proc/x.json", "--transport", "wire"], "/proc/x.json: cannot be written"),
        (["--encryption", "required"], "supported_encryption does not name 'curve'"),
        (["--env", "a secret"], "NAME=VALUE is needed"),
        (["--env", "=a secret"], "NAME=VALUE is needed"),
        (["--timeout", "soon"], "soon: a number of seconds above 0"),
        (["good"], "unrecognized arguments: good"),
    ],
)
async def test_what_cannot_be_used(station: Any, arguments: list[str], says: str) -> None:
    code, out, err = await station.run("start", "--kernel", "good", *arguments)
    assert (code, out) == (2, ""), err
    assert says in err
    assert "Traceback" not in err
    assert "secret" not in err
    assert station.left() == []


@pytest.mark.parametrize("name", ["start", "stop", "interrupt", "restart", "kernels"])
async def test_help_has_an_example(command: Any, name: str) -> None:
    code, out, err = await command.run(name, "--help")
    assert (code, err) == (0, "")
    assert f"\n    kernelwire {name}" in out or f"$(kernelwire {name})" in out
