"""What a test may have left behind: tasks, threads, file descriptors, child processes."""

import asyncio
import gc
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_DESCRIPTORS = Path("/proc/self/fd") if Path("/proc/self/fd").is_dir() else Path("/dev/fd")
_THREADS = Path("/proc/self/task")
_PATIENCE = 2.0
"""Seconds that what is under way has to end."""


@dataclass(frozen=True)
class Resources:
    """What this process holds now, in the running loop."""

    tasks: frozenset[str]
    threads: frozenset[str]
    descriptors: frozenset[str]
    children: frozenset[str]

    @classmethod
    def now(cls) -> Self:
        """Take stock."""
        current = asyncio.current_task()
        return cls(
            tasks=frozenset(_describe(task) for task in asyncio.all_tasks() if task is not current),
            threads=frozenset(f"{t.name} ({t.ident})" for t in threading.enumerate() if t.is_alive()),
            descriptors=frozenset(_descriptors()),
            children=frozenset(_children()),
        )

    def left_behind(self, later: "Resources") -> list[str]:
        """What `later` has and this has not, for people."""
        return [
            f"{kind}: {item}"
            for kind in ("tasks", "threads", "descriptors", "children")
            for item in sorted(getattr(later, kind) - getattr(self, kind))
        ]

    async def settled(self) -> list[str]:
        """What is left behind once callbacks that were under way have run, and what nobody refers to is collected."""
        until = time.monotonic() + _PATIENCE
        left = self.left_behind(Resources.now())
        while left and time.monotonic() < until:
            await asyncio.sleep(0.01)
            left = self.left_behind(Resources.now())
            if left:  # a collection takes its time in a large process, so only where it may matter
                gc.collect()
                left = self.left_behind(Resources.now())
        return left


def _describe(task: "asyncio.Task[object]") -> str:
    # Not its repr, which changes as the task goes on.
    coroutine = task.get_coro()
    return f"{task.get_name()}: {getattr(coroutine, '__qualname__', coroutine)} ({id(task):#x})"


def _descriptors() -> list[str]:
    found = []
    for entry in _DESCRIPTORS.iterdir():
        try:
            # Numbers are used again: what stands behind one is what counts.
            found.append(f"{entry.name} {entry.readlink()}")
        except OSError:  # the listing's own
            continue
    return found


def _children() -> list[str]:
    """Process ids of children, where the system tells: Linux does."""
    found: list[str] = []
    for listing in _THREADS.glob("*/children"):
        try:
            found += listing.read_text("ascii").split()
        except OSError:  # this thread has just ended
            continue
    return found
