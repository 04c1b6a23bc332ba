"""Processes: started, heard, watched, signalled, ended; nothing of them stays."""

import asyncio
import os
import re
import select
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from kernelwire import launcher as module
from kernelwire.errors import EndOfChannel, LaunchFailed
from kernelwire.launcher import KEPT, LocalLauncher, Process, end_process
from kernelwire.testing import Resources

PATIENCE = 60.0

HELLO = "import sys; sys.stderr.write('on stderr'); sys.stderr.flush(); print('on stdout'); sys.exit(5)"
PAUSE = "import signal; print('up', flush=True); signal.pause(); signal.pause()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {PAUSE.removeprefix('import signal; ')}"


@pytest.fixture(params=["watched by the loop", "watched by a thread"])
def _watching(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "watched by a thread":
        monkeypatch.delattr(os, "pidfd_open", raising=False)


both = pytest.mark.usefixtures("_watching")


@pytest.fixture(autouse=True)
async def _nothing_is_left() -> AsyncIterator[None]:
    before = Resources.now()
    yield
    assert await before.settled() == []


class Heard:
    """What processes say, and a word to wait for."""

    def __init__(self) -> None:
        self.data = b""
        self.more = asyncio.Event()

    def __call__(self, data: bytes) -> None:
        self.data += data
        self.more.set()

    async def word(self, word: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            while word not in self.data:
                self.more.clear()
                await self.more.wait()


async def launch(
    code: str, heard: Heard | None = None, *, env: Mapping[str, str] | None = None, **more: Any
) -> Process:
    argv = [sys.executable, "-c", code]
    launcher = LocalLauncher(pass_on=heard or Heard(), independent=more.pop("independent", False))
    return await launcher.launch(argv, os.environ if env is None else env, more.get("cwd"))


async def ended(process: Process) -> int:
    async with asyncio.timeout(PATIENCE):
        return await process.wait()


@both
async def test_its_end_and_its_last_words() -> None:
    heard = Heard()
    process = await launch(HELLO, heard)
    assert await ended(process) == 5
    assert process.poll() == 5
    assert "on stderr" in process.stderr
    assert "on stdout" in process.stderr
    assert b"on stderr" in heard.data
    assert await ended(process) == 5
    process.send_signal(signal.SIGKILL)  # nothing happens
    assert not psutil.pid_exists(process.pid or 0)


@both
async def test_poll_knows_before_the_loop_does() -> None:
    process = await launch("")
    pid = process.pid
    assert pid is not None
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert process.poll() == 0
    assert await ended(process) == 0


async def test_only_the_last_of_stderr_is_kept() -> None:
    process = await launch(f"import sys; sys.stderr.write('a' * {3 * KEPT} + 'the end')")
    await ended(process)
    assert len(process.stderr) == KEPT
    assert process.stderr.endswith("the end")


async def test_a_listener_that_fails_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_data: bytes) -> None:
        raise OSError("closed")

    process = await LocalLauncher(pass_on=fail).launch([sys.executable, "-c", HELLO], os.environ, None)
    assert await ended(process) == 5
    assert "on stderr" in process.stderr


async def test_what_it_says_goes_to_our_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    process = await LocalLauncher().launch([sys.executable, "-c", HELLO], os.environ, None)
    await ended(process)
    captured = capsys.readouterr()
    assert "on stderr" in captured.err
    assert "on stdout" in captured.err
    assert captured.out == ""


async def test_environment_and_directory(tmp_path: Path) -> None:
    code = "import os; print(os.environ.get('A'), os.environ.get('JPY_PARENT_PID'), os.getcwd(), os.getsid(0))"
    process = await launch(code, env={"A": "b", "JPY_PARENT_PID": "1"}, cwd=tmp_path)
    await ended(process)
    assert process.stderr.split() == ["b", str(os.getpid()), str(tmp_path.resolve()), str(process.pid)]


@both
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_signals(signum: signal.Signals) -> None:
    heard = Heard()
    process = await launch(PAUSE, heard)
    await heard.word(b"up")
    assert process.poll() is None
    {signal.SIGTERM: process.terminate, signal.SIGKILL: process.kill}.get(signum, lambda: process.send_signal(signum))()
    assert await ended(process) == -signum


@both
async def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    heard = Heard()
    os.mkfifo(tmp_path / "held")
    held = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    try:
        # Once its reader hears of the end of the pipe, whoever held it is gone.
        child = (
            f"import signal; f = open({str(tmp_path / 'held')!r}, 'w'); print('child up', flush=True); signal.pause()"
        )
        process = await launch(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])", heard)
        await heard.word(b"child up")
        assert select.select([held], [], [], 0) == ([], [], [])
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)  # the one, not the group
        assert await ended(process) == -signal.SIGKILL
        assert select.select([held], [], [], PATIENCE)[0]
        assert os.read(held, 1) == b""
    finally:
        os.close(held)


async def test_a_cancelled_wait_does_no_harm() -> None:
    heard = Heard()
    process = await launch(PAUSE, heard)
    waiting = asyncio.create_task(process.wait())
    await heard.word(b"up")
    waiting.cancel()
    await asyncio.wait([waiting])
    process.kill()
    assert await ended(process) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("argv", "cwd", "says"),
    [
        (["no-such-command-anywhere"], None, "no-such-command-anywhere cannot be started: No such file"),
        ([sys.executable], "/no/such/directory", "in /no/such/directory: No such file"),
        (["/dev/null"], None, "Permission denied"),
        ([], None, "an empty command"),
        (["a\0b"], None, "null byte"),
    ],
)
@pytest.mark.parametrize("independent", [False, True])
async def test_what_cannot_be_started(argv: list[str], cwd: str | None, says: str, independent: bool) -> None:
    with pytest.raises(LaunchFailed, match=says) as caught:
        await LocalLauncher(independent=independent).launch(argv, os.environ, cwd)
    assert caught.value.__cause__ is not None


async def test_an_independent_one() -> None:
    code = f"import os, sys; sys.stderr.write(str(os.environ.get('JPY_PARENT_PID')) + 'a' * {KEPT})"
    heard = Heard()
    process = await launch(code, heard, env={**os.environ, "JPY_PARENT_PID": "1"}, independent=True)
    await ended(process)
    assert process.stderr == "a" * KEPT
    assert heard.data == b""


@pytest.mark.parametrize("independent", [False, True])
async def test_what_it_has_written(independent: bool) -> None:
    process = await launch("print('one two', flush=True); import signal; signal.pause()", independent=independent)
    async with asyncio.timeout(PATIENCE):
        await process.has_written(re.compile("two"))
        assert "one two" in process.stderr
        never = asyncio.create_task(process.has_written(re.compile("three")))
        other = asyncio.create_task(process.has_written(re.compile("three")))
        await asyncio.sleep(0)
        other.cancel()
        process.kill()
        await never
        await process.has_written(re.compile("three"))


@both
async def test_abandoned() -> None:
    process = await launch(PAUSE, independent=True)
    pid = process.pid
    assert pid is not None
    process.abandon()
    process.abandon()
    process.kill()  # not ours any more
    assert process.poll() is None
    assert psutil.pid_exists(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert await ended(await launch("")) == 0  # and the next launch cleans up
    assert not psutil.pid_exists(pid)
    assert module._abandoned == []


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


async def _refused() -> None:
    raise EndOfChannel("nobody there")


async def test_end_by_asking() -> None:
    heard = Heard()
    process = await launch(PAUSE, heard)
    await heard.word(b"up")

    async def ask() -> None:
        process.send_signal(signal.SIGINT)

    assert await end_process(process, ask, PATIENCE) == -signal.SIGINT
    assert await end_process(process, _never, PATIENCE) == -signal.SIGINT


@pytest.mark.parametrize(("code", "ends_by"), [(PAUSE, signal.SIGTERM), (DEAF, signal.SIGKILL)])
@pytest.mark.parametrize("ask", [_never, _refused])
async def test_end_by_insisting(code: str, ends_by: int, ask: Any) -> None:
    heard = Heard()
    process = await launch(code, heard)
    await heard.word(b"up")
    assert await end_process(process, ask, 0.2) == -ends_by


async def test_end_at_once() -> None:
    assert await end_process(await launch(PAUSE), None, PATIENCE) == -signal.SIGKILL


async def test_a_cancelled_end_still_ends() -> None:
    heard = Heard()
    process = await launch(DEAF, heard)
    await heard.word(b"up")
    asked = asyncio.Event()

    async def ask() -> None:
        asked.set()
        await _never()

    ending = asyncio.create_task(end_process(process, ask, PATIENCE))
    await asked.wait()
    ending.cancel()
    await asyncio.wait([ending])
    assert ending.cancelled()
    assert process.poll() == -signal.SIGKILL


async def test_one_that_the_system_does_not_let_go(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_KILLED", 0.0)

    class Stuck(Process):
        pid = 1
        stderr = ""

        async def wait(self) -> int:
            await _never()
            raise AssertionError

        def poll(self) -> int | None:
            return None

        def send_signal(self, signum: int) -> None:
            pass

        def abandon(self) -> None:
            pass

    assert await end_process(Stuck(), _refused, 0.0) is None
    assert "does not end" in caplog.text
