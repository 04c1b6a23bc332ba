"""A relay in a process of its own, that can be killed and started again at its address."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Final, Self

PATIENCE: Final = 60.0
"""Seconds for anything that takes one on an idle machine. No test asserts that anything is fast."""


class RelayProcess:
    """``kernelwire relay`` on a free port of this machine; a context that ends it.

    Arguments:
        directory: for its log.
        arguments: more of its command line.

    Attributes:
        url: its address, the same after every start.
        process: None while it does not run.
        log: the file with its log.
    """

    def __init__(self, directory: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.url = ""
        self.process: subprocess.Popen[str] | None = None
        self.log = directory / "relay.log"
        self._arguments = arguments
        self._environment = {**os.environ, **(environment or {})}
        self._port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.stop()

    @property
    def pid(self) -> int:
        """Of the process, which runs."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it, where it was before if it was; returns when it listens."""
        command = [sys.executable, "-m", "kernelwire.cli", "relay", "--port", str(self._port), "--json"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, *self._arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                text=True,
                env=self._environment,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.process.stdout.close()
        assert line, self.log.read_text()
        told = json.loads(line)
        self.url, self._port = told["url"], told["port"]

    def kill(self) -> None:
        """As a crash: it says goodbye to nobody."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        return self._end(signal.SIGTERM)

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """What it has logged, of one kind or of all."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if event in (None, line["event"])]

    def metrics(self) -> dict[str, float]:
        """What Prometheus would read, by name and labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=PATIENCE) as answer:  # loopback, plain http
            rows = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")]
        return {name.removeprefix("kernelwire_relay_"): float(value) for name, value in rows}

    def memory(self) -> int:
        """Bytes of it that are in memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _end(self, signum: int) -> int:
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(signum)
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def until(condition: Any, patience: float = PATIENCE) -> None:
    """Wait until `condition()` is true, outside of any event loop."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.01)
