"""One contestant in a process of its own, for what only a process can tell: ``_child.py NAME FILE TASK NUMBER``."""

import gc
import json
import resource
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from benchmarks import _free_kernel as free
    from benchmarks._measures import CONTESTANTS, gathered
else:
    import _free_kernel as free  # beside this script
    from _measures import CONTESTANTS, gathered

TIMES = 3


def large(name: str, info: dict[str, str | int], size: int) -> dict[str, float]:
    """Megabytes per second of an output with one large buffer, and by how many the process grew for it at the most."""
    contestant = CONTESTANTS[name]()
    contestant.open(info)
    contestant.large(1_000_000)
    gc.collect()
    before = psutil.Process().memory_info().rss
    seconds = [contestant.large(size) for _ in range(TIMES)]
    grown = peak() - before
    contestant.close()
    return {"rate": size / statistics.median(seconds) / 1e6, "growth": max(grown, 0) / 1e6}


def memory(name: str, info: dict[str, str | int], count: int) -> dict[str, float]:
    """Kilobytes for each client of many, after each has asked once."""
    with gathered(info, name, 1) as first:  # what all share is there from now on
        first(1)
        gc.collect()
        before = psutil.Process().memory_info().rss
        with gathered(info, name, count) as rest:
            rest(1)
            gc.collect()
            return {"memory": (psutil.Process().memory_info().rss - before) / count / 1000}


def peak() -> int:
    """The most that this process has ever held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # the other has the parent's peak in it
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if "VmHWM" in line)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def main(name: str, file: str, task: str, number: str) -> None:
    """Do it and print the result."""
    info = json.loads(Path(file).read_text(encoding="utf-8")) | {"connection_file": file}
    commands = free.Commands(info)
    try:
        print(json.dumps({"large": large, "memory": memory}[task](name, info, int(number))))
    finally:
        commands.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
