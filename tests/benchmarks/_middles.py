"""What stands between a client and a kernel: processes, which end with their context."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

import psutil

if TYPE_CHECKING:
    from benchmarks._contestant import Info
else:
    from _contestant import Info  # beside this script

TOKEN: Final = "a-token"
_PATIENCE: Final = 60.0
_MEGABYTE: Final = 1e6


@dataclass
class Middle:
    """One way from a client to the kernel.

    Attributes:
        info: how a client connects.
        relay: the process that both ends meet at; None if they need none.
        host: the process beside the kernel; likewise.
    """

    info: Info
    relay: psutil.Process | None = None
    host: psutil.Process | None = None
    _before: int = field(default=0, init=False)

    def cpu(self) -> tuple[float, float]:
        """Seconds that the relay and the host have used so far."""
        relay, host = map(_cpu, (self.relay, self.host))
        return relay, host

    def settle(self) -> None:
        """From now on is counted by how much the relay grows."""
        if self.relay is not None:
            self._before = self.relay.memory_info().rss
            # The highest it has been is forgotten; what is not freed counts.
            Path(f"/proc/{self.relay.pid}/clear_refs").write_text("5")

    def growth(self) -> float:
        """Megabytes by which the relay has grown at the most since it has settled."""
        assert self.relay is not None
        status = Path(f"/proc/{self.relay.pid}/status").read_text()
        peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line)
        return max(peak - self._before, 0) / _MEGABYTE


def _cpu(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    # Of all threads, and finer than the ticks in which others tell it.
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def direct(kernel: Info) -> Iterator[Middle]:
    """Nothing."""
    yield Middle(kernel)


@contextmanager
def relay(kernel: Info) -> Iterator[Middle]:
    """Ours: a relay, and a host that shares the kernel."""
    command = [sys.executable, "-m", "kernelwire.cli"]
    with tempfile.TemporaryDirectory(prefix="kw-bench-") as directory:
        file = Path(directory, "client.json")
        with _process([*command, "relay", "--port", "0", "--json"], directory) as meeting:
            url = json.loads(_line(meeting))["url"]
            share = ["host", "--relay", url, "--existing", str(kernel["connection_file"]), "--output", str(file)]
            with _process([*command, *share, "--json"], directory) as host:
                _line(host)
                info = json.loads(file.read_text()) | {"connection_file": str(file)}
                yield Middle(info, psutil.Process(meeting.pid), psutil.Process(host.pid))


@contextmanager
def opaque(kernel: Info) -> Iterator[Middle]:
    """The floor: aiohttp's websockets, which nobody looks into."""
    script = str(Path(__file__).with_name("_opaque.py"))
    with (
        tempfile.TemporaryDirectory(prefix="kw-bench-") as directory,
        _process([sys.executable, script, "relay"], directory) as meeting,
    ):
        url = _line(meeting).strip()
        share = [sys.executable, script, "host", url, str(kernel["connection_file"])]
        with _process(share, directory) as host:
            _line(host)
            yield Middle({"url": url}, psutil.Process(meeting.pid), psutil.Process(host.pid))


@contextmanager
def jupyter_server(kernel: Info) -> Iterator[Middle]:
    """A Jupyter Server that has found the kernel; without its limit to output."""
    with tempfile.TemporaryDirectory(prefix="kw-bench-") as directory:
        kernels = Path(directory, "kernels")
        kernels.mkdir()
        found = {name: value for name, value in kernel.items() if name != "connection_file"}
        Path(kernels, "kernel.json").write_text(json.dumps(found | {"kernel_name": "free"}))
        command = [sys.executable, "-m", "jupyter_server", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
        command += [f"--IdentityProvider.token={TOKEN}", "--no-browser", f"--ServerApp.root_dir={directory}"]
        command += ["--ServerApp.allow_external_kernels=True", f"--ServerApp.external_connection_dir={kernels}"]
        command += ["--ZMQChannelsWebsocketConnection.limit_rate=False", "--ServerApp.log_level=ERROR", "--allow-root"]
        with _process(command, directory) as server:
            url = _url_of_server(server.pid, directory)
            (listed,) = _ask(f"{url}/api/kernels")
            where = url.replace("http:", "ws:") + f"/api/kernels/{listed['id']}/channels"
            yield Middle({"url": where}, psutil.Process(server.pid))


@contextmanager
def _process(command: list[str], directory: str) -> "Iterator[subprocess.Popen[bytes]]":
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "XDG_RUNTIME_DIR", "HOME")
    environment = {**os.environ, **dict.fromkeys(names, directory)}
    log = Path(directory, "log")
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=directory
        ) as process,
    ):
        try:
            yield process
        except BaseException:
            sys.stderr.write(log.read_text()[-2000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _line(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    if not line:
        raise RuntimeError(f"{process.args!r} has ended")
    return line


def _url_of_server(pid: int, directory: str) -> str:
    file = Path(directory, f"jpserver-{pid}.json")
    end = monotonic() + _PATIENCE
    while monotonic() < end:
        if file.exists() and (text := file.read_text()):
            url = f"http://127.0.0.1:{json.loads(text)['port']}"
            try:
                _ask(f"{url}/api/status")
            except OSError:
                pass
            else:
                return url
        sleep(0.05)
    raise RuntimeError("no Jupyter Server came")


def _ask(url: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"token {TOKEN}"})
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
        return json.loads(answer.read())
