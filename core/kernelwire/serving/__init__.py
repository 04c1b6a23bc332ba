"""An object of one's own as a kernel: its async methods answer the requests, on the kernel end of any transport."""

from kernelwire.serving.comms import KernelComm as KernelComm
from kernelwire.serving.kernel import ServedKernel as ServedKernel
from kernelwire.serving.run import Run as Run
from kernelwire.serving.service import Service as Service
from kernelwire.serving.service import serve as serve
