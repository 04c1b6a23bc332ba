"""A kernel that costs nothing: a process of raw pyzmq that echoes requests and publishes as many messages as asked."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from kernelwire.connection import ConnectionInfo
from kernelwire.session import Session

KEY = b"a-key-that-is-as-long-as-a-usual-one"
DELIMITER = b"<IDS|MSG>"
TOPIC = b"kernel.0123456789abcdef.stream.stdout"


def kernel_info_frames() -> list[bytes]:
    """A signed kernel_info_request, ``[signature, header, parent_header, metadata, content]``."""
    session = Session(KEY)
    return [bytes(frame) for frame in session.pack(session.message("kernel_info_request"))]


def stream_frames() -> list[bytes]:
    """A signed line of output, as an answer to a request."""
    session = Session(KEY)
    request = session.message("execute_request")
    line = {"name": "stdout", "text": "one line of output, of ordinary length\n"}
    return [bytes(frame) for frame in session.pack(session.message("stream", line, parent=request))]


@contextmanager
def running(transport: str) -> Iterator[ConnectionInfo]:
    """A kernel in a process of its own, which ends with the block. Yields where it is."""
    with tempfile.TemporaryDirectory(prefix="kw-bench-") as directory:
        command = [sys.executable, str(Path(__file__).resolve()), transport, directory]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                where = json.loads(process.stdout.readline())
                yield ConnectionInfo(transport=transport, key=KEY, **where)
            finally:
                process.kill()


def serve(transport: str, directory: str) -> None:
    """Print where, then serve until killed, or until whoever started this is gone."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    shell = context.socket(zmq.ROUTER)
    control = context.socket(zmq.ROUTER)
    iopub = context.socket(zmq.PUB)
    iopub.setsockopt(zmq.SNDHWM, 0)
    sockets = {"shell_port": shell, "control_port": control, "iopub_port": iopub}
    if transport == "ipc":
        where: dict[str, str | int] = {"ip": f"{directory}/k"}
        for number, (field, socket) in enumerate(sockets.items(), 1):
            socket.bind(f"ipc://{directory}/k-{number}")
            where[field] = number
    else:
        where = {"ip": "127.0.0.1"}
        for field, socket in sockets.items():
            where[field] = socket.bind_to_random_port("tcp://127.0.0.1")
    print(json.dumps(where), flush=True)
    poller = zmq.Poller()
    poller.register(shell, zmq.POLLIN)
    poller.register(control, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    published = [TOPIC, DELIMITER, *stream_frames()]
    while True:
        for source, _ in poller.poll():
            if source is shell:
                # Without asking the poller again: a client that measures sends its next request at once.
                shell.send_multipart(shell.recv_multipart())
            elif source is control:
                # [identity, number]: the number of messages to publish; or an ordinary nudge.
                request = control.recv_multipart()
                if len(request) == 2:
                    for _ in range(int(request[1])):
                        iopub.send_multipart(published)
                else:
                    iopub.send_multipart(published)
                control.send_multipart(request)
            else:
                return


if __name__ == "__main__":
    serve(*sys.argv[1:])
