"""Another kernel is known by its session."""

from kernelwire.kernel_sessions import KernelSessions
from kernelwire.messages import Message


def message(session: str, parent: str = "client", msg_type: str = "status") -> Message:
    return Message({"msg_type": msg_type, "session": session}, {"session": parent} if parent else {}, {}, {})


def test_another_kernel_is_noticed_once() -> None:
    gone: list[str] = []
    sessions = KernelSessions(gone.append)
    assert [sessions.hear(message("one")) for _ in range(2)] == ["one", "one"]
    assert gone == []
    assert sessions.hear(message("two")) == "two"
    assert gone == ["one"]
    assert sessions.hear(message("one")) is None  # what it sent last, late
    assert sessions.hear(message("two")) == "two"
    assert sessions.hear(message("three", parent="")) == "three"
    assert gone == ["one", "two"]


def test_some_messages_do_not_tell() -> None:
    gone: list[str] = []
    sessions = KernelSessions(gone.append)
    sessions.hear(message("one"))
    for each in (
        message("client"),
        message(""),
        message("transport", parent="", msg_type="iopub_welcome"),
    ):
        assert sessions.hear(each) is None
    assert gone == []
