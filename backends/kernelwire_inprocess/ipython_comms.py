"""Comms of the `comm` package, which widgets use, for the kernel whose code runs."""

from collections.abc import Callable
from typing import Any

import comm
from comm.base_comm import BaseComm, CommManager

from kernelwire_inprocess.routing import Installation, current


class RoutedComm(BaseComm):
    """A comm of the kernel in whose code it was made."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._put = getattr(current.get(), "put", _nowhere)
        super().__init__(*arguments, **options)

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        put = getattr(current.get(), "put", self._put)  # the code that speaks now is its parent
        content = {"data": data or {}, "comm_id": self.comm_id, **keys}
        put(msg_type, content, metadata=metadata, buffers=tuple(buffers or ()))


def install(installation: Installation) -> None:
    """Have `comm` ask the kernel whose code runs."""
    create, get_manager = comm.create_comm, comm.get_comm_manager

    def create_comm(*arguments: Any, **options: Any) -> BaseComm:
        make: Callable[..., BaseComm] = create if _manager() is None else RoutedComm
        return make(*arguments, **options)

    def get_comm_manager() -> CommManager:
        return _manager() or get_manager()

    installation.replace(comm, "create_comm", create_comm)
    installation.replace(comm, "get_comm_manager", get_comm_manager)


def _manager() -> CommManager | None:
    manager: CommManager | None = getattr(current.get(), "comm_manager", None)
    return manager


def _nowhere(*_: Any, **__: Any) -> None:
    pass
