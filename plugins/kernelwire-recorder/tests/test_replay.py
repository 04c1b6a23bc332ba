"""What was recorded is replayed, and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kernelwire import ConnectionInfo, connect, errors, registry
from kernelwire.client import KernelClient
from kernelwire.messages import WireMessage
from kernelwire.session import Session
from kernelwire.testing import Run, ScriptedKernel
from kernelwire_recorder import RecordingError, record, replay


async def script(run: Run) -> Mapping[str, Any] | None:
    if run.code == "ask":
        await run.stream(f"hello {await run.input('who? ')}\n")
    elif run.code == "raise":
        raise ValueError("it broke")
    else:
        await run.stream(f"{run.code}\n")
        await run.publish("execute_result", {"data": {"text/plain": "42"}, "metadata": {}, "execution_count": 1})
    return None


@pytest.fixture
async def kernel() -> AsyncIterator[ConnectionInfo]:
    backend = registry.load("inprocess")
    info = backend.prepare(ConnectionInfo(transport="inprocess", key=b"a key that nobody may write down"))
    async with await backend.serve(info) as end, ScriptedKernel(end, Session.of(info), script):
        yield info


@asynccontextmanager
async def client_of(info: ConnectionInfo, answer: str = "Ada") -> AsyncIterator[KernelClient]:
    async def hook(_request: Any) -> str:
        return answer

    async with asyncio.timeout(60), connect(info, input_hook=hook) as client:
        yield client


async def talk(client: KernelClient) -> list[Any]:
    said: list[Any] = []
    await client.ready(10)
    for code in ("one", "ask", "raise", "one"):
        execution = client.execute(code, keep=True)
        result = await execution
        said.append((result.status, [(each.msg_type, each.content) for each in result.outputs]))
    said.append((await client.complete("pri", 3)).content["matches"])
    return said


@pytest.fixture
async def recording(kernel: ConnectionInfo, tmp_path: Path) -> Path:
    path = tmp_path / "conversation.jsonl"
    async with client_of(record(kernel, path)) as client:
        await talk(client)
    return path


async def test_it_says_the_same_again(kernel: ConnectionInfo, recording: Path, tmp_path: Path) -> None:
    async with client_of(record(kernel, tmp_path / "again.jsonl")) as client:
        expected = await talk(client)
    for _each in range(2):
        async with client_of(replay(recording)) as client:
            assert await talk(client) == expected


async def test_the_file_is_private_and_holds_no_key(recording: Path) -> None:
    text = recording.read_text()
    assert recording.stat().st_mode & 0o777 == 0o600
    assert "nobody may write down" not in text
    assert json.loads(text.splitlines()[0]) == {"kernelwire-recording": 1}


async def test_what_only_asks_may_come_again_and_later(recording: Path) -> None:
    async with client_of(replay(recording)) as client:
        for _each in range(2):
            assert (await client.complete("pri", 3)).content["matches"] == ["pri_completed"]
            assert (await client.kernel_info()).content["implementation"] == "scripted"


async def test_another_request_names_what_was_expected(recording: Path) -> None:
    async with client_of(replay(recording)) as client:
        result = await client.execute("two")
        assert result.status == "error"
        assert result.error is not None
        assert result.error[1] == "execute_request of 'one' was recorded here, and not execute_request of 'two'"
        assert (await client.execute("one")).status == "ok"  # it still waits there
        reply = await client.inspect("never", 3)
        assert reply.content["evalue"] == "inspect_request of 'never' was not recorded"


async def test_nothing_is_left_at_the_end(recording: Path) -> None:
    async with client_of(replay(recording)) as client:
        await talk(client)
        result = await client.execute("one")
        assert result.error is not None
        assert result.error[1].startswith("nothing more was recorded on shell")


async def test_another_answer_is_a_mismatch(recording: Path) -> None:
    async with client_of(replay(recording), answer="Eve") as client:
        await client.execute("one")
        result = await client.execute("ask")
        assert result.error is not None
        assert "another input_reply" in result.error[1]


async def test_comms_have_the_id_of_today(tmp_path: Path) -> None:
    path = tmp_path / "comms.jsonl"
    lines = [
        {"kernelwire-recording": 1},
        said("shell", "kernel", {"msg_id": "1", "msg_type": "comm_open"}, {"comm_id": "old", "data": {}}),
        said("iopub", "client", {"msg_id": "2", "msg_type": "comm_msg"}, {"comm_id": "old", "data": {"n": 1}}, "1"),
        {"client": "c", "end": True},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    info = replay(path)
    backend = registry.load("recorder")
    async with await backend.connect(info, identity=b"me") as end:
        session = Session.of(info)
        opened = session.message("comm_open", {"comm_id": "new", "data": {}})
        await end.shell.send(WireMessage(session.pack(opened)))
        message = session.unpack((await end.iopub.receive()).frames)
        assert message.content == {"comm_id": "new", "data": {"n": 1}}
        assert message.is_child_of(opened)

        again = session.message("comm_open", {"comm_id": "new", "data": {}})
        await end.shell.send(WireMessage(session.pack(again)))
        answer = [session.unpack((await end.iopub.receive()).frames) for _each in range(3)]
        assert [each.msg_type for each in answer] == ["status", "error", "status"]
        assert all(each.is_child_of(again) for each in answer)


def said(channel: str, to: str, header: Any, content: Any, parent: str | None = None) -> dict[str, Any]:
    parent_header = {} if parent is None else {"msg_id": parent}
    parts = {"header": header, "parent_header": parent_header, "metadata": {}, "content": content}
    return {"client": "c", "channel": channel, "to": to, **parts, "buffers": []}


async def test_two_clients_one_after_the_other(kernel: ConnectionInfo, tmp_path: Path) -> None:
    path = tmp_path / "two.jsonl"
    for code in ("one", "two"):
        async with client_of(record(kernel, path)) as client:
            await client.execute(code)
    async with client_of(replay(path)) as client:
        assert [(await client.execute(code)).status for code in ("one", "two")] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text[:-40], "truncated"),
        (lambda text: text[: text.rindex("\n", 0, -1) + 1], "has no end"),
        (lambda text: text.replace('"kernelwire-recording": 1', '"kernelwire-recording": 2', 1), "version 2"),
        (lambda _text: "", "no recording"),
        (lambda _text: "{}\n", "no recording"),
        (lambda text: text + "[]\n", "no JSON object"),
        (lambda text: text.replace('"to": "client"', '"to": "nobody"', 1), "no message"),
        (lambda text: text.replace('"channel": "shell"', '"channel": "hb"', 1), "no message"),
        (lambda text: text.replace('"buffers": []', '"buffers": ["?"]', 1), "no base64"),
    ],
)
async def test_a_recording_that_cannot_be_used(recording: Path, spoil: Any, says: str) -> None:
    recording.write_text(spoil(recording.read_text()))
    with pytest.raises(RecordingError, match=says):
        await registry.load("recorder").connect(replay(recording), identity=b"me")


async def test_a_recording_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be read"):
        await registry.load("recorder").connect(replay(tmp_path / "none"), identity=b"me")
    assert issubclass(RecordingError, errors.ConfigurationError)
