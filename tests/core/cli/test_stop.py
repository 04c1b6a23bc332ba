"""``kernelwire stop``: whatever state a kernel is in, nothing of it is left, or the user is told what is."""

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from integration._fake_kernel import fake
from kernelwire.cli.running import taken
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile, read
from kernelwire.processes import ProcessIdentity

PATIENCE = 60


def told(report: Any) -> str:
    return str(report["connection_file"])


# Kernels that kernelwire start has started


@pytest.mark.parametrize(
    ("kernel", "arguments", "says"),
    [
        ("good", [], "stopped"),
        ("deaf", ["--timeout", "1"], "stopped; it had to be terminated"),
        ("stubborn", ["--timeout", "1"], "killed"),
        ("good", ["--now"], "killed"),
    ],
)
@pytest.mark.parametrize("transport", ["ipc", "wire"])
async def test_every_kernel_ends(station: Any, transport: str, kernel: str, arguments: list[str], says: str) -> None:
    report = await station.start_kernel(kernel, "--transport", transport)
    done = await station.run("stop", *arguments, told(report))
    assert done == (0, f"{told(report)}: {says}\n", "")
    assert station.left() == []


@pytest.mark.parametrize("killed", [["pid"], ["keeper_pid"], ["keeper_pid", "pid"]])
async def test_what_is_left_by_violence(station: Any, killed: list[str]) -> None:
    report = await station.start_kernel("good", "--transport", "wire")
    for each in killed:
        os.kill(report[each], signal.SIGKILL)
    if "keeper_pid" not in killed:  # it cleans up by itself, and may have done so before the command looks
        async with asyncio.timeout(PATIENCE):
            while station.left():
                await asyncio.sleep(0.02)
        return
    code, out, err = await station.run("stop", "--timeout", "1", told(report))
    assert (code, err) == (0, "")
    assert out.startswith(f"{told(report)}: ")
    assert station.left() == []


async def test_a_real_kernel_that_was_killed(station: Any) -> None:
    report = await station.start_kernel("python3", "--transport", "ipc")
    code = "import subprocess; print(subprocess.Popen(['sleep', '1000']).pid)"
    orphan = int(await station.say(told(report), code))
    os.kill(report["pid"], signal.SIGKILL)
    done = await station.run("stop", told(report))
    assert done == (0, f"{told(report)}: was dead already; its files are removed\n", "")
    assert orphan not in [process.pid for process in station.alive()]
    assert station.left() == []


async def test_a_number_that_is_another_process_s_by_now(station: Any) -> None:
    report = await station.start_kernel("good")
    path = Path(told(report))
    await station.run("stop", "--now", told(report))
    bystander = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        info = ConnectionInfo.from_dict({"transport": "tcp", "ip": "127.0.0.1", "control_port": 1, "shell_port": 2})
        identity = ProcessIdentity.of(bystander.pid)
        assert identity is not None
        kernel = {"pid": identity.pid, "began": identity.began + "1", "system": identity.system}
        ConnectionFile.write(info.replace(kernelwire={"kernel": kernel, "interrupt_mode": "signal", "cwd": "/"}), path)
        done = await station.run("stop", "--now", str(path))
        assert done == (0, f"{path}: was dead already; its files are removed\n", "")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_several_at_once(station: Any) -> None:
    files = [told(report) for report in await asyncio.gather(*(station.start_kernel("good") for _ in range(3)))]
    os.kill(json.loads(Path(files[1]).read_text())["kernelwire"]["kernel"]["pid"], signal.SIGKILL)
    code, out, err = await station.run("stop", "--json", *files, "nothing.json")
    assert code == 2
    outcomes = zip(files, ("stopped", "dead", "stopped"), strict=True)
    assert json.loads(out) == [{"connection_file": file, "outcome": outcome} for file, outcome in outcomes]
    assert err.startswith("kernelwire: no file ")
    assert station.left() == []


async def test_a_part_of_a_name(station: Any) -> None:
    reports = [await station.start_kernel("good", "--connection-file", f"runtime/kernel-{n}5.json") for n in (3, 4)]
    code, out, err = await station.run("stop", "5")
    assert (code, out) == (2, "")
    assert err == "kernelwire: '5' is a part of several names: kernel-35.json, kernel-45.json\n"
    assert (await station.run("stop", "35")).code == 0
    assert [process.pid for process in station.alive()] == [reports[1]["pid"]]
    assert (await station.run("stop", "kernel-45.json")).code == 0


async def test_two_commands_on_one_kernel(station: Any) -> None:
    report = await station.start_kernel("good")
    with taken(Path(told(report))):
        for command in ("stop", "restart"):
            code, out, err = await station.run(command, told(report))
            assert (code, out) == (2, "")
            assert "another command is stopping or restarting this kernel" in err
    await station.stop(told(report))


async def test_an_impatient_user(station: Any) -> None:
    report = await station.start_kernel("deaf", "--transport", "ipc")
    process = await station.start("stop", "--timeout", "1000", told(report))
    async with asyncio.timeout(PATIENCE):
        while read_lock(Path(told(report))):
            await asyncio.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert (await station.end(process)).code == 130
    async with asyncio.timeout(PATIENCE):
        while station.left():
            await asyncio.sleep(0.02)


def read_lock(path: Path) -> bool:
    """Whether nobody has the lock."""
    from kernelwire.errors import ConfigurationError

    try:
        with taken(path):
            return True
    except ConfigurationError:
        return False


# Other kernels


async def foreign(station: Any, behaviour: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A kernel that answers, started by somebody else."""
    from kernelwire import registry
    from kernelwire.client import connect

    info = registry.load("tcp").prepare(ConnectionInfo(key=b"a key", kernel_name="good"))
    path = ConnectionFile.write(info, station.runtime / f"kernel-{behaviour}.json").path
    command = [each.replace("{connection_file}", str(path)) for each in fake(behaviour)]
    process = subprocess.Popen(command, env=station.environment, start_new_session=True)
    async with connect(info) as client:
        await client.ready(PATIENCE)
    return process, path


async def test_somebody_else_s_kernel_is_asked(station: Any) -> None:
    process, path = await foreign(station, "good")
    code, out, err = await station.run("stop", "--now", str(path))
    assert (code, out) == (2, "")
    assert "'kernelwire start' did not start this kernel here, so it can only be asked to end" in err
    assert process.poll() is None
    done = await station.run("stop", str(path))
    assert done == (0, f"{path}: stopped\n", "")
    assert process.wait(PATIENCE) == 0
    assert not path.exists()


async def test_somebody_else_s_kernel_is_not_killed(station: Any) -> None:
    process, path = await foreign(station, "deaf")
    try:
        code, out, err = await station.run("stop", "--timeout", "0.5", str(path))
        assert (code, out) == (3, "")
        assert "it has not ended within 0.5 s after it was asked to; nothing was removed" in err
        assert process.poll() is None
        assert path.exists()
    finally:
        process.kill()
        process.wait()
        path.unlink()


async def test_a_record_that_others_can_write_is_not_believed(station: Any) -> None:
    report = await station.start_kernel("good")
    path = Path(told(report))
    path.chmod(0o666)
    code, _, err = await station.run("stop", "--now", str(path))
    assert code == 2
    assert "so it can only be asked to end" in err
    assert psutil.pid_exists(report["pid"])
    path.chmod(0o600)
    await station.stop(str(path))


async def test_the_file_of_a_kernel_that_may_come_again_stays(station: Any) -> None:
    report = await station.start_kernel("good", "--transport", "wire")
    info = read(told(report)).replace(kernelwire=None)
    copy = ConnectionFile.write(info, station.directory / "copy.json").path
    assert await station.run("stop", "copy.json") == (0, f"{copy}: stopped\n", "")
    assert copy.exists()
    async with asyncio.timeout(PATIENCE):
        while station.left():  # its keeper cleans up
            await asyncio.sleep(0.02)


async def test_a_file_of_a_kernel_that_nobody_serves(station: Any) -> None:
    info = ConnectionInfo(transport="ipc", ip=str(station.sockets / "k"), control_port=1, shell_port=2)
    path = ConnectionFile.write(info, station.runtime / "kernel-old.json").path
    # It may just be starting.
    code, _, err = await station.run("stop", "--timeout", "0.3", str(path))
    assert code == 3
    assert "it has not ended within 0.3 s" in err
    os.utime(path, (0, 0))
    assert await station.run("stop", str(path)) == (0, f"{path}: was dead already; its files are removed\n", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "FILE"),
        ([""], "FILE is empty"),
        (["nothing.json"], "no file "),
        (["/nowhere/nothing.json"], "no file /nowhere/nothing.json"),
        (["odd.json"], "not JSON"),
        (["."], "cannot be read"),
        (["--timeout", "-1", "odd.json"], "-1: a number of seconds above 0"),
    ],
)
async def test_what_cannot_be_used(station: Any, arguments: list[str], says: str) -> None:
    (station.directory / "odd.json").write_text("{")
    (station.directory / "odd.json").chmod(0o600)
    code, out, err = await station.run("stop", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err
