"""Which kernel a message comes from: a kernel's session is the one thing in its messages that changes at a restart."""

from collections import deque
from collections.abc import Callable
from typing import Final

from kernelwire.messages import Message

_REMEMBERED: Final = 100


class KernelSessions:
    """Listens for another kernel in the place of the one that was heard before.

    Arguments:
        on_new: called with the session of the kernel that is gone.
    """

    def __init__(self, on_new: Callable[[str], None]) -> None:
        self._on_new = on_new
        self._now: str | None = None
        self._gone: deque[str] = deque(maxlen=_REMEMBERED)  # what they sent last may come after the next one's first

    def hear(self, message: Message) -> str | None:
        """The session of the kernel that sent a message; None if it does not tell, or if that kernel is gone.

        Some kernels repeat the session of the request instead of naming their own. A welcome is the transport's, not
        the kernel's, and has no parent.
        """
        session = message.header.get("session")
        if not session or session == message.parent_header.get("session") or message.msg_type == "iopub_welcome":
            return None
        session = str(session)
        if session != self._now:
            if session in self._gone:
                return None
            gone, self._now = self._now, session
            if gone is not None:
                self._gone.append(gone)
                self._on_new(gone)
        return session
