"""Transport ``inprocess``: a kernel and its clients in one process, with nothing between them but queues."""

from kernelwire_inprocess.backend import InProcessBackend

__all__ = ["InProcessBackend"]
