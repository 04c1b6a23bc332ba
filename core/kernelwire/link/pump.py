"""Frames between a sealed pipe and a machine, for as long as both last: the link's asyncio shell begins here."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from kernelwire.errors import ConnectionLost, LinkViolation
from kernelwire.link.peer import FIRST_FRAME
from kernelwire.link.records import FRAME_LIMIT, Bye
from kernelwire.link.sealed import SealedPipe
from kernelwire.link.waking import Bell, look_at

LETTING_GO: Final = 1.0
"""Seconds that a pipe gets to end what is under way on it; what is still there then its closing has to end."""

_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

Clock = Callable[[], float]


SMALL_FRAME: Final = FIRST_FRAME // 2
"""Bytes below which a frame had room for all that there was."""

BATCH: Final = 192 * 1024
"""Bytes of frames that go onto the pipe as one piece, as soon as they are so many, to who takes them in no time."""

_LAST: Final = (Bye, LinkViolation)


def boot_time() -> float:
    """Seconds that go on while the machine sleeps, so that a connection is not trusted after that."""
    return time.clock_gettime(_BOOT)


def is_cancelled() -> bool:
    """Whether it is this task that is being cancelled, and not merely something that it has waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Machine(Protocol):
    """What the pump drives: see :class:`kernelwire.link.peer.Peer`.

    A frame of fewer than :data:`SMALL_FRAME` bytes is the last that there is at its time; a machine that has more all
    the same rings the bell.
    """

    def receive(self, plaintext: bytes, now: float) -> Sequence[Any]: ...  # noqa: D102
    def has_frame(self, now: float) -> bool: ...  # noqa: D102
    def next_frame(self, now: float) -> bytes: ...  # noqa: D102
    def is_swift(self) -> bool: ...  # noqa: D102
    def dead_at(self) -> float: ...  # noqa: D102
    def wake_at(self) -> float | None: ...  # noqa: D102


def gather(machine: Machine, now: float, most: int) -> tuple[list[bytes], bool]:
    """Frames of `most` bytes in all, or just one; and whether there may be more.

    Just one as well where the other end is not swift: on a slow wire nothing counts as heard before it is whole, and
    what comes later waits for it.
    """
    frames = []
    while plaintext := machine.next_frame(now):
        frames.append(plaintext)
        size = len(plaintext)
        if size < SMALL_FRAME:  # what would have made it larger did not come after it
            break
        most -= size
        if most < FRAME_LIMIT or not machine.is_swift():
            return frames, True
    return frames, False


async def pump(
    pipe: SealedPipe,
    machine: Machine,
    on_events: Callable[[Sequence[Any]], None],
    *,
    bell: Bell,
    clock: Clock,
    on_sent: Callable[[], None] | None = None,
) -> Exception | Bye:
    """Until the pipe breaks, or one of the ends is done with it; return why.

    Arguments:
        pipe: after its handshake.
        machine: takes and gives frames.
        on_events: called with what the machine says happened.
        bell: rung when the machine may have something to send.
        clock: the machine's.
        on_sent: called after each piece, of one frame or several, that the pipe has taken.
    """
    over = False
    why: Exception | Bye | None = None
    due = 0.0  # when who writes will look again by itself

    def end(reason: Exception | Bye) -> None:
        # Whatever a pipe makes of what is raised where it hands over.
        nonlocal over, why
        over, why = True, reason
        bell.ring()

    def take(plaintexts: Sequence[bytes]) -> None:
        nonlocal due
        if over:  # the machine may be on another connection now
            raise ConnectionLost("this came too late")
        events: list[Any] = []
        now = clock()
        try:
            try:
                for plaintext in plaintexts:
                    events += machine.receive(plaintext, now)
                    if events and isinstance(events[-1], _LAST):
                        break
            finally:
                on_events(events)  # what the machine has taken counts
            if machine.has_frame(now):
                bell.ring()
            elif (wake_at := machine.wake_at()) is not None and wake_at < due:
                due = wake_at
                bell.hasten(wake_at - now)  # to wake who sends for nothing, with each frame, costs more than to look
        except Exception as error:
            end(error)
            raise
        if events and isinstance(events[-1], _LAST):
            end(events[-1])
            raise ConnectionLost("nothing that comes after this counts")

    async def read() -> Exception | Bye:
        pipe.pour(take)  # where it does, only its end is received
        while True:
            take((await pipe.receive(),))

    most = FIRST_FRAME  # as frames do, and for the same reason: a piece that is cut in the middle is lost whole
    sending: Coroutine[Any, Any, None] | None = None  # what the pipe could not take without a wait
    takes_now = False  # the last time, it could

    def send() -> bool:
        # Whether there may be more to send, as soon as the pipe takes it.
        nonlocal most, sending, takes_now
        frames, left = gather(machine, clock(), most)
        if frames:
            most = min(2 * most, BATCH)
            sending = pipe.send_now(frames)
            takes_now = sending is None
            if takes_now and on_sent is not None:
                on_sent()
        return left

    def send_at_once() -> None:
        if not takes_now:  # what waits anyhow had better have company
            bell.ring()
            return
        try:
            left = send()
        except Exception as error:  # noqa: BLE001 - it is the pipe's end, and not the caller's trouble
            end(error)
            return
        if left or sending is not None:
            bell.ring()

    async def write() -> Exception | Bye:
        nonlocal due, sending
        while not over:
            left = sending is not None or send()
            if sending is not None:
                waiting, sending = sending, None
                await waiting
                if on_sent is not None:
                    on_sent()
            if left:
                continue
            wake_at = machine.wake_at()
            due = math.inf if wake_at is None else wake_at
            await bell.wait(None if wake_at is None else wake_at - clock(), at_once=send_at_once)
        return ConnectionLost("it is too late to send")

    async def watch() -> Exception | Bye:
        # Beside the others: a pipe that nobody empties at the other end may hold up who writes for ever.
        while (left := machine.dead_at() - clock()) > 0:  # noqa: ASYNC110 - time is what is waited for
            await asyncio.sleep(left)
        return ConnectionLost("nothing came for too long")

    tasks = [asyncio.create_task(work(), name="kernelwire link") for work in (read, write, watch)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        over = True
        # The reader's reason first: a goodbye counts, also when sending fails because the other end has gone then.
        reasons = [task for task in tasks if task.done()]
        for task in tasks:
            task.add_done_callback(look_at)  # nobody else may: how the others ended is of no interest
            task.cancel()
        await asyncio.wait(tasks, timeout=LETTING_GO)
        if sending is not None:  # nobody has begun to wait for it
            sending.close()
    return why or _reason(reasons[0])


def _reason(task: "asyncio.Task[Exception | Bye]") -> Exception | Bye:
    if task.cancelled():  # not by us: somebody inside the pipe gave up
        return ConnectionLost("the pipe gave up")
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, Exception):
        raise error
    return error
