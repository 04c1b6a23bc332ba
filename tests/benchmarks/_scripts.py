"""The shortest programs that connect, wait and tell: with what they import, the start of a client.

Each is run with ``python -c`` and the connection file's path, and prints a line when it has its reply.
"""

RAW = """
import hmac, json, os, sys, uuid
from datetime import datetime, timezone
import zmq
info = json.load(open(sys.argv[1]))
def address(field):
    if info["transport"] == "ipc":
        return f"ipc://{info['ip']}-{info[field]}"
    return f"tcp://{info['ip']}:{info[field]}"
def sign(parts):
    return hmac.new(info["key"].encode(), b"".join(parts), "sha256").hexdigest().encode()
def ask():
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "kernel_info_request", "username": "raw", "session": session,
              "date": datetime.now(timezone.utc).isoformat(), "version": "5.4"}
    parts = [json.dumps(header).encode(), b"{}", b"{}", b"{}"]
    shell.send_multipart([b"<IDS|MSG>", sign(parts), *parts])
    _, signature, *parts = shell.recv_multipart()
    assert hmac.compare_digest(sign(parts), signature)
    assert json.loads(parts[3])["status"] == "ok"
session = uuid.uuid4().hex
context = zmq.Context()
shell = context.socket(zmq.DEALER)
shell.connect(address("shell_port"))
"""

RAW_READY = """
iopub = context.socket(zmq.SUB)
iopub.setsockopt(zmq.SUBSCRIBE, b"")
iopub.connect(address("iopub_port"))
ask()
while not iopub.poll(20):
    ask()
"""

TELL = """
print("here", flush=True)
"""

JC_BLOCKING = """
import sys
from jupyter_client import BlockingKernelClient
client = BlockingKernelClient(connection_file=sys.argv[1])
client.load_connection_file()
client.start_channels()
client.{ask}
print("here", flush=True)
client.stop_channels()
"""

JC_ASYNC = """
import asyncio, sys
from jupyter_client import AsyncKernelClient
async def main():
    client = AsyncKernelClient(connection_file=sys.argv[1])
    client.load_connection_file()
    client.start_channels()
    await client.{ask}
    print("here", flush=True)
    client.stop_channels()
asyncio.run(main())
"""

BLOCKING = """
import sys
import kernelwire.blocking
with kernelwire.blocking.connect(sys.argv[1]) as client:
    client.{ask}
    print("here", flush=True)
"""

ASYNC = """
import asyncio, sys
import kernelwire
async def main():
    async with kernelwire.connect(sys.argv[1]) as client:
        await client.{ask}
        print("here", flush=True)
asyncio.run(main())
"""

FIRST_REPLY = {
    "raw": RAW + "ask()\n" + TELL,
    "jc blocking": JC_BLOCKING.format(ask="kernel_info(reply=True)"),
    "jc async": JC_ASYNC.format(ask="kernel_info(reply=True)"),
    "blocking": BLOCKING.format(ask="kernel_info()"),
    "async": ASYNC.format(ask="kernel_info()"),
}

READY = {
    "raw": RAW + RAW_READY + TELL,
    "jc blocking": JC_BLOCKING.format(ask="wait_for_ready(timeout=60)"),
    "jc async": JC_ASYNC.format(ask="wait_for_ready(timeout=60)"),
    "blocking": BLOCKING.format(ask="ready(timeout=60)"),
    "async": ASYNC.format(ask="ready(timeout=60)"),
}
