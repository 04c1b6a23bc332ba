"""One execute_request while it runs: what the object's ``execute`` is given beside the code."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kernelwire.messages import Message
from kernelwire.serving.comms import KernelComm, KernelComms
from kernelwire.serving.publisher import Publisher, Request
from kernelwire.serving.questions import Questions

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Run:
    """Publishes for one execution, and asks its client. All of it is usable after the execution has ended, too.

    Beside what each method names, all that publish raise InvalidMessage and MessageTooLarge for what cannot be sent,
    and ChannelClosed, EndOfChannel or ConnectionLost when the kernel is served no more.

    Attributes:
        request: the execute_request.
        peer: the client that asked, as the transport knows it.
        code: its code.
        execution_count: the number of the prompt.
        silent: whether the client wants no result to be published.
        store_history: whether the execution counts.
        allow_stdin: whether the client answers questions.
        user_expressions: what the client wants to have evaluated afterwards, by name.
        reply: further fields for the execute_reply, such as ``payload`` and ``user_expressions``.
        failure: the content of the error that `error` published; None if there was none.
    """

    def __init__(
        self, request: Request, execution_count: int, publisher: Publisher, questions: Questions, comms: KernelComms
    ) -> None:
        content = request.message.content
        expressions = content.get("user_expressions")
        self.request: Message = request.message
        self.peer = request.peer
        self.code = str(content.get("code", ""))
        self.execution_count = execution_count
        self.silent = bool(content.get("silent", False))
        self.store_history = bool(content.get("store_history", True)) and not self.silent
        self.allow_stdin = bool(content.get("allow_stdin", True))
        self.user_expressions: Mapping[str, Any] = dict(expressions) if isinstance(expressions, Mapping) else {}
        self.reply: dict[str, Any] = {}
        self.failure: dict[str, Any] | None = None
        self._request = request
        self._publisher = publisher
        self._questions = questions
        self._comms = comms

    async def publish(
        self,
        msg_type: str,
        content: Mapping[str, Any],
        *,
        metadata: Mapping[str, Any] | None = None,
        buffers: "Sequence[Buffer]" = (),
    ) -> None:
        """Publish a message of any type as a child of the request.

        Arguments:
            msg_type: the message's type.
            content: its content.
            metadata: its metadata.
            buffers: binary data; what is read-only is not copied.
        """
        await self._publisher.publish(msg_type, content, self._request, metadata=metadata, buffers=buffers)

    async def stream(self, text: str, name: str = "stdout") -> None:
        """Print `text`, to ``stdout`` or ``stderr``."""
        await self._publisher.publish("stream", {"name": name, "text": text}, self._request)

    async def display(
        self,
        data: object,
        metadata: Mapping[str, Any] | None = None,
        *,
        display_id: str | None = None,
        update: bool = False,
    ) -> None:
        """Show something.

        Arguments:
            data: a mapping is a MIME bundle; text is shown as it is, and anything else as its ``repr``.
            metadata: by MIME type.
            display_id: a name for the display, by which it can be updated.
            update: whether to change all displays of that name instead of adding one.

        Raises:
            ValueError: an update without a name.
        """
        if update and display_id is None:
            raise ValueError("display_id: an update needs the name of what it updates")
        content = {
            "data": bundle(data),
            "metadata": metadata or {},
            "transient": {} if display_id is None else {"display_id": display_id},
        }
        await self.publish("update_display_data" if update else "display_data", content)

    async def result(self, data: object, metadata: Mapping[str, Any] | None = None) -> None:
        """Publish the value of the code; what ``execute`` returns is published so too. Nothing if it is `silent`.

        Arguments:
            data: as for `display`.
            metadata: likewise.
        """
        if not self.silent:
            content = {
                "execution_count": self.execution_count,
                "data": bundle(data),
                "metadata": metadata or {},
            }
            await self.publish("execute_result", content)

    async def error(self, name: str, value: str, traceback: Sequence[str] = ()) -> None:
        """The code has failed: publish that, and reply with it. An exception from ``execute`` does the same.

        Arguments:
            name: what kind of error it is.
            value: its text.
            traceback: lines for people.
        """
        self.failure = {"ename": name, "evalue": value, "traceback": list(traceback)}
        await self.publish("error", self.failure)

    async def clear_output(self, wait: bool = False) -> None:
        """Remove what was shown; with `wait`, not before something new is."""
        await self.publish("clear_output", {"wait": wait})

    async def input(self, prompt: str = "", password: bool = False) -> str:
        """Ask the client that sent the request, and wait for its answer.

        Arguments:
            prompt: to be shown.
            password: whether what is typed must not be.

        Raises:
            EOFError: the client has no answer, or is gone.
            NotSupported: the client answers no questions.
        """
        return await self._questions.ask(self._request, prompt, password)

    async def open_comm(
        self,
        target_name: str,
        data: Mapping[str, Any] | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        buffers: "Sequence[Buffer]" = (),
    ) -> KernelComm:
        """Open a comm to a target in the front end. What comes from there goes to ``comm_msg`` and ``comm_close``."""
        return await self._comms.open(target_name, data, self._request, metadata=metadata, buffers=buffers)


def bundle(data: object) -> Mapping[str, Any]:
    """The MIME bundle of something to show."""
    if isinstance(data, Mapping):
        return data
    return {"text/plain": data if isinstance(data, str) else repr(data)}
