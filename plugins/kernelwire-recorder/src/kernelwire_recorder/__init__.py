"""The transport `recorder`: record what a client and a kernel say to each other over any other transport, and replay
it as a kernel. Its entry point, in pyproject.toml, makes it known.
"""

from kernelwire_recorder.backend import RecorderBackend, record, replay
from kernelwire_recorder.recording import RecordingError

__all__ = ["RecorderBackend", "RecordingError", "record", "replay"]
