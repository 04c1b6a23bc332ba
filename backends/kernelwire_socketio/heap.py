"""Memory that large messages come and go in."""

import functools


@functools.cache
def keep_blocks(size: int) -> None:
    """Have the C library keep what messages have used for those that follow: to get pages from the system for each of
    them, and have them cleared, costs more than all that is done with it.

    glibc takes its measure from the largest block that was ever given back. Other libraries do not care.

    Arguments:
        size: bytes of a block up to which that is so. More costs memory: up to twice as much is not given back.
    """
    bytearray(size)
