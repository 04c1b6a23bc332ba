"""Transport ``inprocess``: a kernel and its clients in one process, with nothing between them but queues.

`ipython` serves IPython here, in a thread of its own; IPython itself is imported when it is served.
"""

from kernelwire_inprocess.backend import InProcessBackend
from kernelwire_inprocess.ipython_kernel import IPythonKernel, ipython

__all__ = ["IPythonKernel", "InProcessBackend", "ipython"]
