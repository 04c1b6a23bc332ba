"""A kernel in the program's own process, ours beside ipykernel's: `python tests/benchmarks/inprocess.py`.

Each contestant runs in a process of its own, in turn; the ratios are medians of those within each round. Both are
unsigned, as ipykernel's always is.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

MEASURES = {
    "round trip": "us",
    "iopub": "messages/s",
    "iopub, by request": "messages/s",
    "1+1 on IPython": "ms",
    "100 MB buffer": "copies",
}
TARGETS = {"round trip": ("<=", 0.6), "iopub": (">=", 8.0), "1+1 on IPython": ("<=", 1.0)}
TEXT = "one line of output, of ordinary length\n"
SIZE = 100_000_000

Numbers = dict[str, float]


class Toy:
    """A kernel that costs nothing: its code is a number of lines to print, or ``buffer``."""

    buffer = b""

    async def execute(self, code: str, run: Any) -> None:
        """Print, or send the buffer."""
        if code == "buffer":
            await run.publish("display_data", {"data": {}, "metadata": {}}, buffers=[memoryview(self.buffer)])
            return
        for _ in range(int(code)):
            await run.stream(TEXT)


async def ours(requests: int, messages: int, cells: int) -> Numbers:
    """kernelwire: `serve` for the toy, `ipython` for the rest."""
    import kernelwire
    from kernelwire_inprocess import ipython

    numbers: Numbers = {}
    toy = Toy()
    async with (
        kernelwire.serve(toy, "inprocess", allow_unsigned=True) as info,
        kernelwire.connect(info) as client,
    ):
        await client.ready()
        numbers["round trip"] = 1e6 * await _median(requests, client.kernel_info)
        started = time.perf_counter()
        count = 0
        async for message in client.execute(str(messages)):
            count += message.msg_type == "stream"
        assert count == messages
        numbers["iopub, by request"] = messages / (time.perf_counter() - started)
        toy.buffer = os.urandom(SIZE)
        (received,) = (await client.execute("buffer")).outputs[-1].buffers
        numbers["100 MB buffer"] = float(not (isinstance(received, memoryview) and received.obj is toy.buffer))
    # As ipykernel's client does it: messages as they come, whatever they belong to.
    async with (
        kernelwire.serve(toy, "inprocess", allow_unsigned=True) as info,
        kernelwire.open_channels(info) as kernel,
    ):
        await kernel.ready()
        started = time.perf_counter()
        await kernel.shell.send(kernel.session.message("execute_request", {"code": str(messages)}))
        count = 0
        while count < messages:
            count += (await kernel.iopub.receive()).msg_type == "stream"
        numbers["iopub"] = messages / (time.perf_counter() - started)
    async with ipython(allow_unsigned=True) as info, kernelwire.connect(info) as client:
        await client.execute("1+1")

        async def cell() -> None:
            result = await client.execute("1+1")
            assert result.data == {"text/plain": "2"}

        numbers["1+1 on IPython"] = 1e3 * await _median(cells, cell)
    return numbers


def theirs(requests: int, messages: int, cells: int) -> Numbers:
    """ipykernel: its in-process kernel and its blocking client."""
    from ipykernel.inprocess.manager import InProcessKernelManager

    manager: Any = InProcessKernelManager()
    manager.start_kernel()
    kernel = manager.kernel
    client: Any = manager.client()
    client.start_channels()

    def round_trip() -> None:
        client.kernel_info()
        client.get_shell_msg(timeout=10)

    def cell() -> None:
        msg_id = client.execute("1+1")
        client.get_shell_msg(timeout=10)
        while True:
            message = client.get_iopub_msg(timeout=10)
            if message["parent_header"].get("msg_id") == msg_id and message["content"].get("execution_state") == "idle":
                return

    numbers: Numbers = {}
    round_trip()
    _drain(client)
    numbers["round trip"] = 1e6 * statistics.median(_timed(round_trip) for _ in range(requests))
    time.sleep(0.2)
    _drain(client)
    started = time.perf_counter()
    for _ in range(messages):
        kernel.session.send(kernel.iopub_socket, "stream", {"name": "stdout", "text": TEXT}, ident=b"stream")
    for _ in range(messages):
        client.get_iopub_msg(timeout=10)
    numbers["iopub"] = messages / (time.perf_counter() - started)
    cell()
    numbers["1+1 on IPython"] = 1e3 * statistics.median(_timed(cell) for _ in range(cells))
    manager.shutdown_kernel()
    return numbers


def measure(rounds: int, sizes: tuple[int, int, int]) -> dict[str, dict[str, Any]]:
    """By measure: the medians of both, and the median of the ratios."""
    values: list[Mapping[str, Numbers]] = [
        {name: _child(name, sizes) for name in ("ours", "theirs")} for _ in range(rounds)
    ]
    rows: dict[str, dict[str, Any]] = {}
    for name, unit in MEASURES.items():
        row: dict[str, Any] = {"unit": unit, "ours": statistics.median(each["ours"][name] for each in values)}
        if name in TARGETS:
            row["theirs"] = statistics.median(each["theirs"][name] for each in values)
            row["ratio"] = statistics.median(each["ours"][name] / each["theirs"][name] for each in values)
            sign, bound = TARGETS[name]
            row["target"] = f"{sign} {bound:g}"
            row["met"] = row["ratio"] <= bound if sign == "<=" else row["ratio"] >= bound
        rows[name] = row
    return rows


def _child(name: str, sizes: tuple[int, int, int]) -> Numbers:
    with tempfile.TemporaryDirectory(prefix="kw-bench-") as directory:
        done = subprocess.run(
            [sys.executable, __file__, "--contestant", name, *map(str, sizes)],
            env={**os.environ, "IPYTHONDIR": directory, "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # ipykernel complains of a task that it leaves behind
            text=True,
            check=True,
            timeout=300,
        )
    numbers: Numbers = json.loads(done.stdout.splitlines()[-1])
    return numbers


async def _median(times: int, work: Callable[[], Any]) -> float:
    for _ in range(min(times, 20)):
        await work()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _drain(client: Any) -> None:
    while client.iopub_channel.msg_ready():
        client.get_iopub_msg(timeout=1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="processes for each contestant (5)")
    parser.add_argument("--contestant", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument(
        "sizes",
        nargs="*",
        type=int,
        default=[1000, 20_000, 300],
        help="how many round trips, messages, and cells (1000 20000 300)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    arguments = parser.parse_args()
    requests, messages, cells = arguments.sizes
    if arguments.contestant == "theirs":
        print(json.dumps(theirs(requests, messages, cells)))
    elif arguments.contestant:
        print(json.dumps(asyncio.run(ours(requests, messages, cells))))
    else:
        rows = measure(arguments.rounds, (requests, messages, cells))
        print(json.dumps(rows) if arguments.json else _table(rows))


def _table(rows: dict[str, dict[str, Any]]) -> str:
    lines = [f"{'':18}{'':>12}{'ipykernel':>12}{'kernelwire':>12}{'ratio':>8}  target"]
    for name, row in rows.items():
        theirs = f"{row['theirs']:,.1f}" if "theirs" in row else "-"
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else "-"
        target = f"{row['target']}: {'met' if row['met'] else 'missed'}" if "target" in row else ""
        lines.append(f"{name:18}{row['unit']:>12}{theirs:>12}{row['ours']:>12,.1f}{ratio:>8}  {target}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
