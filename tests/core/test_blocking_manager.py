"""The manager for code without a loop, with a kernel that costs nothing to start."""

import inspect
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from integration._fake_kernel import fake
from kernelwire.blocking_manager import BlockingKernelManager
from kernelwire.errors import ChannelClosed, KernelDied, KernelRestarted, LocalError, NoSuchKernelspec, WrongLoop
from kernelwire.launch import AutoRestart, Patience
from kernelwire.manager import KernelManager

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The runtime directory, which is empty again after a test; nor is a thread or a process left."""
    directory = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(directory))
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    before = set(psutil.Process().children())
    yield directory
    assert list(directory.iterdir()) == []
    assert "kernelwire manager" not in {thread.name for thread in threading.enumerate()}
    assert set(psutil.Process().children()) <= before


@pytest.fixture
def manager() -> Iterator[BlockingKernelManager]:
    with BlockingKernelManager(auto_restart=AutoRestart(limit=1), patience=Patience(shutdown=1.0)) as manager:
        yield manager


def start(manager: BlockingKernelManager, **more: object) -> None:
    manager.start("fake", argv=fake(), timeout=PATIENCE, **more)  # type: ignore[arg-type] # only what start has


def test_a_kernel_from_start_to_end(manager: BlockingKernelManager) -> None:
    assert not manager.has_kernel
    assert manager.is_alive() is False
    start(manager)
    assert manager.has_kernel
    assert manager.is_alive()
    assert manager.connection_file.is_file()
    assert manager.kernel_spec.name == "fake"
    with manager.client() as client:
        assert client.execute("pid").result().text == str(manager.pid)
    manager.shutdown()
    assert not manager.has_kernel


def test_it_restarts_and_its_client_goes_on(manager: BlockingKernelManager) -> None:
    start(manager)
    first = manager.pid
    with manager.client() as client:
        client.ready(PATIENCE)
        manager.restart(now=True)
        manager.wait_ready(PATIENCE)
        assert manager.pid != first
        assert client.execute("pid").result().text == str(manager.pid)


def test_a_request_of_another_thread_ends_with_the_kernel(manager: BlockingKernelManager) -> None:
    start(manager)
    errors: list[BaseException] = []
    working = threading.Event()

    def work() -> None:
        with manager.client() as client:
            try:
                for _ in client.execute("wait"):
                    working.set()
            except KernelDied as error:
                errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert working.wait(PATIENCE)
    manager.kill()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert [type(error) for error in errors] == [KernelDied]


def test_a_request_ends_with_a_restart(manager: BlockingKernelManager) -> None:
    start(manager)
    with manager.client() as client:
        messages = iter(client.execute("wait"))
        next(messages)
        manager.restart(now=True)
        with pytest.raises(KernelRestarted):
            next(messages)


def test_it_interrupts(manager: BlockingKernelManager) -> None:
    start(manager)
    with manager.client() as client:
        messages = iter(client.execute("wait"))
        next(messages)
        manager.interrupt()
        assert list(messages)[-1].msg_type == "error"
        manager.signal(signal.SIGINT)


def test_it_tells_of_a_kernel_that_was_started_again(manager: BlockingKernelManager) -> None:
    start(manager)
    restarted = threading.Event()
    manager.add_callback(restarted.set)
    manager.signal(signal.SIGKILL)
    assert restarted.wait(PATIENCE)
    manager.remove_callback(restarted.set)
    manager.wait_ready(PATIENCE)
    assert manager.is_alive()


def test_channels_stay_until_they_are_stopped(manager: BlockingKernelManager) -> None:
    start(manager)
    assert not manager.channels_running
    client = manager.start_channels(stdin=False)
    assert manager.channels is client
    assert not client.allow_stdin
    assert client.execute("pid").result().text == str(manager.pid)
    assert manager.start_channels(stdin=False) is client
    with pytest.raises(LocalError, match="stop_channels"):
        manager.start_channels()
    manager.stop_channels()
    assert not manager.channels_running
    assert manager.start_channels().kernel_info().msg_type == "kernel_info_reply"


def test_it_attaches_and_detaches(manager: BlockingKernelManager) -> None:
    start(manager)
    with BlockingKernelManager() as other:
        other.attach(manager.connection_file)
        other.wait_ready(PATIENCE)
        other.detach()
    assert manager.is_alive()


def test_a_mistake_is_raised_where_it_was_made(manager: BlockingKernelManager) -> None:
    with pytest.raises(NoSuchKernelspec):
        manager.start("no such kernel")
    with pytest.raises(LocalError):
        manager.restart()
    manager.close()
    manager.close()
    with pytest.raises(ChannelClosed):
        manager.shutdown()


async def test_code_with_a_loop_is_told_so() -> None:
    with pytest.raises(WrongLoop):
        BlockingKernelManager()


def test_it_has_all_that_the_other_has() -> None:
    def public(kind: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}

    assert public(KernelManager) - public(BlockingKernelManager) == {"listeners"}
    assert public(BlockingKernelManager) - public(KernelManager) == {"close"}


def test_a_program_that_forgets_it_leaves_no_kernel(runtime: Path) -> None:
    program = f"""
from kernelwire import BlockingKernelManager
manager = BlockingKernelManager()
manager.start("fake", argv={fake()!r}, timeout={PATIENCE})
print(manager.pid)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stderr == ""
    assert not psutil.pid_exists(int(done.stdout))


def test_a_forked_child_leaves_the_kernel_alone(runtime: Path) -> None:
    program = f"""
import os, sys
from kernelwire import BlockingKernelManager
from kernelwire.errors import WrongLoop
with BlockingKernelManager() as manager:
    manager.start("fake", argv={fake()!r}, timeout={PATIENCE})
    with manager.client() as client:
        sys.stdout.flush()
        if not (child := os.fork()):
            for call in (manager.is_alive, manager.shutdown, manager.interrupt, lambda: manager.signal(9)):
                try:
                    call()
                except WrongLoop as error:
                    assert "fork" in str(error)
                else:
                    os._exit(1)
            sys.exit(7)
        _, status = os.waitpid(child, 0)
        is_here = client.execute("pid").result().text == str(manager.pid)
        print(os.waitstatus_to_exitcode(status), manager.is_alive(), is_here)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.stdout, done.stderr) == ("7 True True\n", "")
