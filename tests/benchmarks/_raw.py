"""The floor: raw pyzmq."""

import hmac
import json
import os
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import zmq

if TYPE_CHECKING:
    from benchmarks import _free_kernel as free
    from benchmarks._contestant import Burst, Contestant, Drained, Info
else:
    import _free_kernel as free  # beside this script, from wherever it is run
    from _contestant import Burst, Contestant, Drained, Info


class Raw(Contestant):
    """The floor: what a client must do at the least, and no more. Header and content to JSON, HMAC, send, receive,
    verify, four JSON parts decoded.
    """

    name = "raw"

    def open(self, info: Info) -> None:
        self.reach(info)
        while self._iopub.poll(20):
            self._iopub.recv_multipart()

    def reach(self, info: Info) -> None:
        """Connect; return as soon as the kernel answers and something that it publishes has arrived."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._keyed = hmac.new(free.KEY, digestmod="sha256")
        self._session = uuid.uuid4().hex
        self._count = 0
        self._shell = self._connect(zmq.DEALER, info, "shell_port")
        self._iopub = self._connect(zmq.SUB, info, "iopub_port")
        while not self._iopub.poll(20):
            self._receive(self._shell, self._send("kernel_info_request", {}))

    def close(self) -> None:
        self._context.destroy(0)

    def kernel_info(self, count: int) -> list[float]:
        times = []
        for _ in range(count):
            start = time.perf_counter()
            self._receive(self._shell, self._send("kernel_info_request", {}))
            times.append(time.perf_counter() - start)
        return times

    def execute(self, count: int) -> list[float]:
        times = []
        for _ in range(count):
            start = time.perf_counter()
            request = self._execute("pass")
            self._read_until("status", request)
            self._receive(self._shell, request)
            times.append(time.perf_counter() - start)
        return times

    def drain(self, burst: Burst) -> Drained:
        request = self._execute("hold")
        self._read_until("execute_input", request)
        cpu = time.process_time()
        burst()
        start = time.perf_counter()
        count = self._read_until("status", request)
        seconds = time.perf_counter() - start
        cpu = time.process_time() - cpu
        self._receive(self._shell, request)
        return Drained(count, seconds, cpu)

    def in_flight(self, count: int) -> None:
        waiting = {self._send("kernel_info_request", {}) for _ in range(count)}
        while waiting:
            waiting.discard(self._decode(self._shell.recv_multipart())[1]["msg_id"])

    def large(self, size: int) -> float:
        start = time.perf_counter()
        request = self._execute(f"large {size}")
        while True:
            frames = self._iopub.recv_multipart(copy=False)
            header, parent, _ = self._decode([frame.bytes for frame in frames[:7]])
            if parent.get("msg_id") == request and header["msg_type"] == "display_data":
                break
        seconds = time.perf_counter() - start
        assert len(frames[7].buffer) == size
        self._read_until("status", request)
        self._receive(self._shell, request)
        return seconds

    def _connect(self, kind: int, info: Info, field: str) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.RCVTIMEO, free.STALLED)
        socket.setsockopt(zmq.RECONNECT_IVL, 5)  # a kernel may only just be starting
        if kind == zmq.SUB:
            socket.setsockopt(zmq.RCVHWM, 0)
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(free.address(info, field))
        return socket

    def _execute(self, code: str) -> str:
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        return self._send("execute_request", content)

    def _send(self, msg_type: str, content: dict[str, Any]) -> str:
        self._count += 1
        msg_id = f"{self._session}_{os.getpid()}_{self._count}"
        header = {
            "msg_id": msg_id,
            "msg_type": msg_type,
            "username": "raw",
            "session": self._session,
            "date": datetime.now(UTC).isoformat(),
            "version": "5.4",
        }
        parts = [json.dumps(header).encode(), b"{}", b"{}", json.dumps(content).encode()]
        self._shell.send_multipart([free.DELIMITER, self._sign(parts), *parts])
        return msg_id

    def _receive(self, socket: "zmq.Socket[bytes]", request: str) -> dict[str, Any]:
        while True:
            _, parent, content = self._decode(socket.recv_multipart())
            if parent["msg_id"] == request:
                return content

    def _read_until(self, msg_type: str, request: str) -> int:
        """Read iopub up to a message; a status must be idle. Return how many were read."""
        count = 0
        while True:
            header, parent, content = self._decode(self._iopub.recv_multipart())
            count += 1
            mine = parent.get("msg_id") == request and header["msg_type"] == msg_type
            if mine and (msg_type != "status" or content["execution_state"] == "idle"):
                return count

    def _decode(self, frames: list[bytes]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        at = frames.index(free.DELIMITER)
        signature, *parts = frames[at + 1 : at + 6]
        assert hmac.compare_digest(self._sign(parts), signature)
        header, parent, _, content = map(json.loads, parts)
        return header, parent, content

    def _sign(self, parts: list[bytes]) -> bytes:
        digest = self._keyed.copy()
        for part in parts:
            digest.update(part)
        return digest.hexdigest().encode()
