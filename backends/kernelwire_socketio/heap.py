"""Memory that large messages come and go in."""

import functools
from typing import Final

KEPT: Final = 4 * 1024 * 1024
"""Bytes of a block up to which memory is not given back to the system at once."""


@functools.cache
def keep_blocks() -> None:
    """Have the C library keep what messages have used for those that follow: to get pages from the system for each of
    them, and have them cleared, costs more than all that is done with it.

    glibc takes its measure from the largest block that was ever given back. Other libraries do not care.
    """
    bytearray(KEPT)
