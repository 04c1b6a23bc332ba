"""The log: JSON lines, and not too many of them."""

import io
import json

from kernelwire_socketio.relay.log import Log


def test_a_line_is_an_object() -> None:
    stream = io.StringIO()
    Log(stream, lambda: 1.23456)("joined", role="host", source="a\nb", token=None)
    assert stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue()) == {"time": 1.235, "event": "joined", "role": "host", "source": "a\nb"}


def test_too_many_of_a_kind_are_counted_instead() -> None:
    now = 0.0
    stream = io.StringIO()
    log = Log(stream, lambda: now)
    for _ in range(1000):
        log("refused")
    log("joined")
    now = 60.0
    log("refused")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[-2]["event"] == "joined"
    assert len(lines) + lines[-1]["left_out"] == 1002
    assert len(lines) < 300


def test_nobody_need_read_it() -> None:
    stream = io.StringIO()
    log = Log(stream)
    stream.close()
    log("ended")
