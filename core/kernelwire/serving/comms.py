"""Comms at the kernel's side: the messages of a comm reach the object's methods in the order of the shell channel."""

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kernelwire.errors import ChannelClosed
from kernelwire.serving.definition import Definition
from kernelwire.serving.publisher import Publisher, Request

if TYPE_CHECKING:
    from typing_extensions import Buffer


class KernelComm:
    """One comm, at the kernel's side.

    Attributes:
        comm_id: known to both sides.
        target_name: what it is for.
        closed: whether either side has closed it.
    """

    def __init__(self, publisher: Publisher, comm_id: str, target_name: str) -> None:
        self.comm_id = comm_id
        self.target_name = target_name
        self.closed = False
        self.request: Request | None = None  # during which it speaks
        self._publisher = publisher

    async def send(
        self,
        data: Mapping[str, Any],
        *,
        metadata: Mapping[str, Any] | None = None,
        buffers: "Sequence[Buffer]" = (),
    ) -> None:
        """Send a comm_msg to the front end.

        Raises:
            ChannelClosed: either side has closed the comm.
            InvalidMessage, MessageTooLarge: the message cannot be sent.
        """
        if self.closed:
            raise ChannelClosed("the comm is closed")
        content = {"comm_id": self.comm_id, "data": data}
        await self._publisher.publish("comm_msg", content, self.request, metadata=metadata, buffers=buffers)

    async def publish(
        self,
        msg_type: str,
        content: Mapping[str, Any],
        *,
        metadata: Mapping[str, Any] | None = None,
        buffers: "Sequence[Buffer]" = (),
    ) -> None:
        """Publish a message of any type as a child of what came last on this comm.

        Raises:
            InvalidMessage, MessageTooLarge: the message cannot be sent.
        """
        await self._publisher.publish(msg_type, content, self.request, metadata=metadata, buffers=buffers)

    async def close(self, data: Mapping[str, Any] | None = None) -> None:
        """Close it, and tell the front end; does nothing if it is closed already."""
        if not self.closed:
            self.closed = True
            await self._publisher.publish("comm_close", {"comm_id": self.comm_id, "data": data or {}}, self.request)


class KernelComms:
    """The comms of one kernel, whoever opened them.

    Arguments:
        publisher: sends.
        definition: whose methods take what comes.
    """

    def __init__(self, publisher: Publisher, definition: Definition) -> None:
        self._publisher = publisher
        self._definition = definition
        self._open: dict[str, KernelComm] = {}
        publisher.on_publish = self._on_publish

    async def open(
        self,
        target_name: str,
        data: Mapping[str, Any] | None,
        request: Request | None,
        *,
        metadata: Mapping[str, Any] | None = None,
        buffers: "Sequence[Buffer]" = (),
    ) -> KernelComm:
        """Open a comm to a target in the front end."""
        comm_id = uuid.uuid4().hex
        content = {"comm_id": comm_id, "target_name": target_name, "data": data or {}}
        await self._publisher.publish("comm_open", content, request, metadata=metadata, buffers=buffers)
        comm = self._open[comm_id]
        comm.request = request
        return comm

    def info(self, target_name: object) -> dict[str, Any]:
        """The content of a comm_info_reply."""
        comms = {
            comm_id: {"target_name": comm.target_name}
            for comm_id, comm in self._open.items()
            if not target_name or comm.target_name == target_name
        }
        return {"status": "ok", "comms": comms}

    async def on_message(self, request: Request) -> tuple[str, KernelComm] | None:
        """What came on shell: the method to call for it, and its comm; None if it concerns nobody here."""
        message = request.message
        comm_id = str(message.content.get("comm_id", ""))
        if message.msg_type == "comm_open":
            comm = KernelComm(self._publisher, comm_id, str(message.content.get("target_name", "")))
            comm.request = request
            if self._definition.method("comm_open") is None:
                await comm.close()
                return None
            self._open[comm_id] = comm
            return "comm_open", comm
        known = self._open.get(comm_id)
        if known is None:
            return None
        known.request = request
        if message.msg_type == "comm_close":
            known.closed = True
            del self._open[comm_id]
        return message.msg_type, known

    def forget_all(self) -> None:
        """The kernel that had them is gone."""
        for comm in self._open.values():
            comm.closed = True
        self._open.clear()

    def _on_publish(self, msg_type: str, content: Mapping[str, Any]) -> None:
        # Here, so that it does not matter by what way the object opened or closed it.
        if msg_type == "comm_open":
            comm_id = str(content.get("comm_id", ""))
            self._open[comm_id] = KernelComm(self._publisher, comm_id, str(content.get("target_name", "")))
        elif msg_type == "comm_close":
            comm = self._open.pop(str(content.get("comm_id", "")), None)
            if comm is not None:
                comm.closed = True
