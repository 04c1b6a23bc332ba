"""How large things are in a schedule: as in life, or much smaller, so that few bytes reach every bound."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kernelwire.link import allowance, chunk, host, log, peer, records, resume, schedule, throttle
from kernelwire.link.records import Lane


@dataclass(frozen=True)
class Scale:
    """Bytes, except where it says something else.

    Attributes:
        window: of lanes C and D.
        own: that each sender may have on the way in any case.
        shared: that all of a host's senders may have beyond that.
        swift: that a receiver must take in a second for more to be on the way.
        loose: of pieces that are kept as they came.
        kept: sent and not handled, beyond which nothing new is begun.
        frame: of a frame.
        first_frame: of a connection's first.
        worthwhile: of a frame that are left over rather than filled.
        sparse: after which a status is due.
        sparse_messages: messages after which one is due.
        pinned: of a log that may be pinned.
        log: of a log.
        patience: seconds for which publishers wait for one client, for each log's worth.
        replies: that wait for one client.
        message: of a message.
        desk: that lie unread at a reader before it says that there is no room.
        large: of the largest bodies of this schedule's messages.
    """

    window: tuple[int, int]
    own: int
    shared: int
    swift: int
    loose: int
    kept: int
    frame: int
    first_frame: int
    worthwhile: int
    sparse: int
    sparse_messages: int
    pinned: int
    log: int
    patience: float
    replies: int
    message: int
    desk: int
    large: int


REAL = Scale(
    window=(resume.WINDOW[Lane.C], resume.WINDOW[Lane.D]),
    own=throttle.OWN,
    shared=throttle.SHARED,
    swift=throttle.SWIFT,
    loose=chunk._LOOSE,
    kept=resume.KEPT_LIMIT,
    frame=records.FRAME_LIMIT,
    first_frame=peer.FIRST_FRAME,
    worthwhile=schedule._WORTHWHILE,
    sparse=resume._SPARSE_BYTES,
    sparse_messages=resume._SPARSE_MESSAGES,
    pinned=log.PINNED_LIMIT,
    log=log.LOG_LIMIT,
    patience=allowance.PATIENCE,
    replies=host.REPLIES_LIMIT,
    message=4 * 1024 * 1024,
    desk=256 * 1024,
    large=300_000,
)


def small(rng: random.Random) -> Scale:
    """Any one of many small ones."""
    window = rng.choice((3_000, 8_000, 20_000))
    return Scale(
        window=(rng.choice((800, 2_000, 5_000)), window),
        own=(own := window // rng.choice((1, 2, 4))),
        shared=rng.choice((window // 2, 2 * window)),
        swift=rng.choice((0, own)),
        loose=rng.choice((1_000, 10_000)),
        kept=rng.choice((2_000, 12_000, 100_000)),
        frame=rng.choice((700, 1_500, 4_000)),
        first_frame=rng.choice((200, 700)),
        worthwhile=rng.choice((32, 64)),
        sparse=window // 4,
        sparse_messages=rng.choice((2, 8, 64)),
        pinned=rng.choice((2_000, 1_000_000)),
        log=rng.choice((4_000, 15_000, 60_000, 1_000_000)),
        patience=rng.choice((0.0, 0.1, 1.0)),
        replies=rng.choice((3_000, 20_000, 1_000_000)),
        message=20_000,
        desk=rng.choice((500, 4_000)),
        large=rng.choice((100, 3_000, 12_000)),
    )


@contextmanager
def applied(scale: Scale) -> Iterator[None]:
    """The link with these sizes."""
    sizes = (
        (resume, "WINDOW", dict(zip(Lane, scale.window, strict=True))),
        (throttle, "OWN", scale.own),
        (throttle, "SHARED", scale.shared),
        (throttle, "SWIFT", scale.swift),
        (chunk, "_LOOSE", scale.loose),
        (resume, "KEPT_LIMIT", scale.kept),
        (resume, "_SPARSE_BYTES", scale.sparse),
        (resume, "_SPARSE_MESSAGES", scale.sparse_messages),
        (peer, "FRAME_LIMIT", scale.frame),
        (peer, "FIRST_FRAME", scale.first_frame),
        (schedule, "_WORTHWHILE", scale.worthwhile),
        (log, "PINNED_LIMIT", scale.pinned),
    )
    before = [getattr(module, name) for module, name, _ in sizes]
    try:
        for module, name, value in sizes:
            setattr(module, name, value)
        yield
    finally:
        for (module, name, _), value in zip(sizes, before, strict=True):
            setattr(module, name, value)
