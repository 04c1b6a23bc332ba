"""A kernel that speaks the whole protocol and costs next to nothing: a process of raw pyzmq.

What can be is made beforehand. Every message is signed, and has an id of its own; a request's own signature is not
looked at. Beside Jupyter's messages its shell takes commands (:class:`Commands`), so that a benchmark says what is
published, and knows when it was.
"""

import hmac
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

if TYPE_CHECKING:
    Socket = zmq.Socket[bytes]

KEY = b"a-key-that-is-as-long-as-a-usual-one"
DELIMITER = b"<IDS|MSG>"
COMMAND = b"do"
PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
STALLED = 60_000
"""Milliseconds after which a raw socket gives up: a benchmark that hangs is no use."""

SESSION = b"0123456789abcdef0123456789abcdef"
TEXT = "one line of output, of ordinary length\n"
KERNEL_INFO = {
    "status": "ok",
    "protocol_version": "5.4",
    "implementation": "free",
    "implementation_version": "1.0",
    "language_info": {
        "name": "python",
        "version": "3.11.7",
        "mimetype": "text/x-python",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "pygments_lexer": "ipython3",
        "nbconvert_exporter": "python",
        "file_extension": ".py",
    },
    "banner": "A kernel that costs nothing\n",
    "help_links": [{"text": "Python Reference", "url": "https://docs.python.org/3.11"}],
    "supported_features": [],
}


class Commands:
    """The benchmark's way to the kernel: commands that are answered when they are carried out."""

    def __init__(self, info: dict[str, str | int]) -> None:
        self._context: zmq.Context[Socket] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.RCVTIMEO, STALLED)
        self._socket.connect(address(info, "shell_port"))

    def status(self, published: bool) -> None:
        """Whether busy and idle are published for requests on shell that are not executed; at first they are."""
        self._call(b"status", b"1" if published else b"")

    def burst(self, messages: int, *, wait: bool) -> None:
        """Publish so many lines of output for the execution of ``hold``, then end that. Without `wait`, `done` must be
        called before the next command. The lines are made and signed first, which this waits for: how fast they come
        is then up to who takes them, and not to this kernel.
        """
        self._call(b"prepare", b"%d" % messages)
        self._socket.send_multipart([COMMAND, b"burst", b""])
        if wait:
            self.done()

    def done(self) -> bytes:
        """Wait until the command is carried out."""
        return self._socket.recv()

    def request_bytes(self) -> int:
        """The size of the last request, without its routing."""
        return int(self._call(b"bytes", b""))

    def close(self) -> None:
        """Close the connection."""
        self._context.destroy(0)

    def _call(self, name: bytes, argument: bytes) -> bytes:
        self._socket.send_multipart([COMMAND, name, argument])
        return self.done()


@contextmanager
def running(transport: str) -> Iterator[dict[str, str | int]]:
    """A kernel in a process of its own, which ends with the block. Yields what a connection file says of it."""
    with tempfile.TemporaryDirectory(prefix="kw-bench-") as directory:
        command = [sys.executable, str(Path(__file__).resolve()), transport, directory]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                info = json.loads(process.stdout.readline())
                file = Path(directory, "connection.json")
                file.touch(0o600)
                file.write_text(json.dumps(info), encoding="utf-8")
                yield info | {"connection_file": str(file)}
            finally:
                process.kill()


def address(info: dict[str, str | int], field: str) -> str:
    """The zmq address of one of the kernel's ports."""
    if info["transport"] == "ipc":
        return f"ipc://{info['ip']}-{info[field]}"
    return f"tcp://{info['ip']}:{info[field]}"


class Kernel:
    """Serves in the thread that calls `serve`; heartbeat and control have threads of their own, which wait for free."""

    def __init__(self, transport: str, directory: str) -> None:
        self.info: dict[str, str | int] = {
            "transport": transport,
            "ip": f"{directory}/k" if transport == "ipc" else "127.0.0.1",
            "key": KEY.decode(),
            "signature_scheme": "hmac-sha256",
        }
        self._context: zmq.Context[Socket] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 8192)
        self._shell = self._bind(zmq.ROUTER, "shell_port")
        self._control = self._bind(zmq.ROUTER, "control_port")
        self._stdin = self._bind(zmq.ROUTER, "stdin_port")
        self._hb = self._bind(zmq.ROUTER, "hb_port")
        self._iopub = self._bind(zmq.PUB, "iopub_port")
        self._publishing = threading.Lock()
        self._keyed = hmac.new(KEY, digestmod="sha256")
        self._count = 0
        self._status = True
        self._held: tuple[list[bytes], bytes] = ([], b"{}")
        self._prepared: list[list[bytes]] = []
        self._last: list[bytes] = []
        self._buffers: dict[int, bytes] = {}
        self._heads = {
            kind: (
                b'{"msg_id":"%b_' % SESSION,
                b'","msg_type":"%b","username":"kernel","session":"%b",'
                b'"date":"2026-01-02T03:04:05.678901Z","version":"5.4"}' % (kind, SESSION),
            )
            for kind in (b"status", b"stream", b"execute_input", b"execute_reply", b"kernel_info_reply",
                         b"display_data")
        }  # fmt: skip
        self._info_reply = json.dumps(KERNEL_INFO).encode()

    def serve(self) -> None:
        """Until whoever started this is gone."""
        for work in (self._beat, self._serve_control, self._end_with_parent):
            threading.Thread(target=work, daemon=True).start()
        shell = self._shell
        while True:
            frames = shell.recv_multipart()
            if frames[1] == DELIMITER:
                self._last = frames
                self._answer(shell, frames)
            elif frames[1] == COMMAND:
                shell.send_multipart([frames[0], self._carry_out(frames[2], frames[3])])

    def _answer(self, socket: "Socket", frames: list[bytes]) -> None:
        header = frames[3]
        route = frames[:2]
        if b"execute_request" in header:
            self._publish(b"status", header, b'{"execution_state":"busy"}')
            content = frames[6]
            self._publish(b"execute_input", header, b'{"code":"pass","execution_count":1}')
            if b"hold" in content:
                self._held = (route, header)
                return
            if b"large" in content:
                _, size, *times = json.loads(content)["code"].split()
                for _ in range(int(times[0]) if times else 1):
                    self._publish_large(header, int(size))
            self._end(socket, route, header)
        else:
            published = self._status or socket is self._control
            if published:
                self._publish(b"status", header, b'{"execution_state":"busy"}')
            socket.send_multipart([*route, *self._message(b"kernel_info_reply", header, self._info_reply)])
            if published:
                self._publish(b"status", header, b'{"execution_state":"idle"}')

    def _end(self, socket: "Socket", route: list[bytes], header: bytes) -> None:
        reply = b'{"status":"ok","execution_count":1,"user_expressions":{},"payload":[]}'
        socket.send_multipart([*route, *self._message(b"execute_reply", header, reply)])
        self._publish(b"status", header, b'{"execution_state":"idle"}')

    def _carry_out(self, name: bytes, argument: bytes) -> bytes:
        if name == b"status":
            self._status = bool(argument)
        elif name == b"prepare":
            _, header = self._held
            line = json.dumps({"name": "stdout", "text": TEXT}).encode()
            self._prepared = [self._published(b"stream", header, line) for _ in range(int(argument))]
        elif name == b"burst":
            send = super(zmq.Socket, self._iopub).send  # without what pyzmq checks of each part
            with self._publishing:
                for *parts, last in self._prepared:
                    for part in parts:
                        send(part, zmq.SNDMORE)
                    send(last)
            self._prepared = []
            self._end(self._shell, *self._held)
        elif name == b"bytes":
            return b"%d" % sum(map(len, self._last[1:]))
        return b"done"

    def _publish(self, kind: bytes, parent: bytes, content: bytes) -> None:
        parts = self._published(kind, parent, content)
        with self._publishing:
            self._iopub.send_multipart(parts)

    def _published(self, kind: bytes, parent: bytes, content: bytes) -> list[bytes]:
        return [b"kernel.free.%b" % kind, DELIMITER, *self._message(kind, parent, content)]

    def _publish_large(self, parent: bytes, size: int) -> None:
        buffer = self._buffers.get(size)
        if buffer is None:  # not zeros, which the system would not even store
            buffer = self._buffers[size] = os.urandom(1_000_000) * (size // 1_000_000)
        message = self._message(b"display_data", parent, b'{"data":{},"metadata":{},"transient":{}}')
        with self._publishing:
            self._iopub.send_multipart([b"kernel.free.display_data", DELIMITER, *message, buffer], copy=False)

    def _message(self, kind: bytes, parent: bytes, content: bytes) -> list[bytes]:
        self._count += 1
        start, rest = self._heads[kind]
        header = b"%b%d%b" % (start, self._count, rest)
        digest = self._keyed.copy()
        digest.update(b"%b%b{}%b" % (header, parent, content))
        return [digest.hexdigest().encode(), header, parent, b"{}", content]

    def _serve_control(self) -> None:
        while True:
            self._answer(self._control, self._control.recv_multipart())

    def _beat(self) -> None:
        while True:
            self._hb.send_multipart(self._hb.recv_multipart())

    def _end_with_parent(self) -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    def _bind(self, kind: int, field: str) -> "Socket":
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.SNDHWM, 0)  # it never drops: what is measured is the client
        socket.setsockopt(zmq.RCVHWM, 0)
        if kind == zmq.ROUTER:
            socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        if self.info["transport"] == "ipc":
            self.info[field] = PORTS.index(field) + 1
            socket.bind(address(self.info, field))
        else:
            self.info[field] = socket.bind_to_random_port("tcp://127.0.0.1")
        return socket


if __name__ == "__main__":
    kernel = Kernel(*sys.argv[1:])
    print(json.dumps(kernel.info), flush=True)
    kernel.serve()
