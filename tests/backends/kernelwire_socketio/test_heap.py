"""What messages have used is kept for those that follow; seen by how often the system had to give memory."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from kernelwire_socketio.heap import keep_blocks

if sys.argv[1] == "kept":
    keep_blocks(4 * 1024 * 1024)

def run():
    for _ in range(20):
        blocks = [bytes(256 * 1024) for _ in range(8)]
        del blocks

run()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
run()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others take other measures")
def test_blocks_come_back() -> None:
    assert faults("kept") * 4 < faults("not")
