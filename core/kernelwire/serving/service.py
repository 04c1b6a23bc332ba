"""Serve an object as a kernel, at an address, for as long as a context lasts.

::

    async with kernelwire.serve(Echo(), "tcp") as info:
        async with kernelwire.connect(info) as client:
            print(await client.execute("hello"))
"""

import asyncio
import logging
from contextlib import AsyncExitStack

from kernelwire import registry
from kernelwire.connection import ConnectionInfo, new_key
from kernelwire.errors import AddressInUse, LocalError, WireError
from kernelwire.serving.definition import Definition
from kernelwire.serving.kernel import ServedKernel
from kernelwire.session import Session

_log = logging.getLogger(__name__)


class Service:
    """A served object: an async context manager that yields where it is. Made by :func:`kernelwire.serve`.

    The context is entered once. When the kernel was shut down by a client the address is closed at once, and the
    context goes on; see `wait`.
    """

    def __init__(self, definition: Definition, info: ConnectionInfo) -> None:
        self._definition = definition
        self._asked = info
        self._closing = AsyncExitStack()
        self._ending: asyncio.Task[None] | None = None
        self._kernel: ServedKernel | None = None

    async def __aenter__(self) -> ConnectionInfo:
        if self._ending is not None:
            raise LocalError("this service was entered before: call kernelwire.serve again")
        backend = registry.load(self._asked.transport)
        info = backend.prepare(self._asked)
        async with AsyncExitStack() as stack:
            stack.callback(backend.release, info)
            try:
                end = await stack.enter_async_context(await backend.serve(info))
            except AddressInUse:
                stack.pop_all()  # what stands there is somebody else's
                raise
            self._kernel = await stack.enter_async_context(ServedKernel(self._definition, end, Session.of(info)))
            self._closing = stack.pop_all()
        self._ending = asyncio.create_task(self._until_end(self._kernel), name="kernelwire service")
        return backend.for_clients(info)

    async def __aexit__(self, *_exc: object) -> None:
        assert self._ending is not None
        self._ending.cancel()
        await asyncio.wait([self._ending])
        await self._closing.aclose()

    async def wait(self) -> None:
        """Until a client has shut the kernel down and its address is closed, or its wire ended.

        Raises:
            LocalError: it was not entered.
            ConnectionLost: the wire broke for good.
        """
        if self._ending is None or self._kernel is None:
            raise LocalError("nothing is served yet: enter the context first")
        await asyncio.wait([self._ending])
        await self._kernel.wait()

    async def _until_end(self, kernel: ServedKernel) -> None:
        try:
            await kernel.wait()
        except WireError as error:  # `wait` raises it
            _log.warning("a served kernel lost its wire: %s", error)
        await self._closing.aclose()


def serve(served: object, connection: ConnectionInfo | str = "tcp", *, allow_unsigned: bool = False) -> Service:
    """Serve an object of your own as a kernel, for as long as the context lasts.

    ::

        async with serve(Calculator(), "ipc") as info:
            ...

    The object has async methods; all but ``execute`` may be absent:

    - ``execute(code, run)`` runs code. `run` (a :class:`~kernelwire.serving.Run`) publishes its output and asks its
      client. What is returned, unless it is None, is published as the result: a mapping is a MIME bundle, text is
      shown as it is, anything else as its ``repr``.
    - ``complete(code, cursor_pos)``, ``inspect(code, cursor_pos, detail_level)``, ``is_complete(code)`` and
      ``history(request)`` return fields of the reply; those that are left out are filled in. ``inspect`` may return
      None, ``is_complete`` just the status, ``history`` a list of entries. `cursor_pos` is in characters.
    - ``kernel_info()`` returns fields of that reply. Attributes of the object do the same: ``implementation``,
      ``implementation_version``, ``banner``, ``language_info``, ``help_links``.
    - ``comm_open(comm, message)``, ``comm_msg(comm, message)`` and ``comm_close(comm, message)`` take what front ends
      send; `comm` is a :class:`~kernelwire.serving.KernelComm`. Without ``comm_open``, comms are closed at once.
    - ``interrupt()`` is called for an interrupt_request. Without it the method that works on a request of shell is
      cancelled, and its request fails with a KeyboardInterrupt.
    - ``restart()`` makes the object as good as new; clients see another kernel at the same address. Without it, a
      shutdown_request ends the kernel even if it says that it will be restarted.
    - ``shutdown()`` is called when a client shuts the kernel down.

    An object that is an async context manager is entered before it is served, and left in the end. If
    ``execution_count`` is an attribute of the object, that is the number of the next prompt. Otherwise executions
    are counted here.

    Requests on shell follow each other. What a method raises becomes an error in the reply to its request, and the
    kernel lives; after an error of ``execute``, the same client's executions that wait are answered with ``aborted``,
    unless the request said otherwise. The methods run in the caller's event loop, so they must not block it.

    Arguments:
        served: the object.
        connection: the name of a transport, or more of an address: what is missing of it is chosen.
        allow_unsigned: if the connection has no key, serve without one, to everybody who reaches it. Otherwise a new
            one is made.

    Returns:
        A context manager that yields where clients reach the kernel. Its ``wait()`` returns when one has shut it down.

    Raises:
        InvalidKernel: the object cannot be served; the text names the method or the attribute.
        ConfigurationError: on entering the context: a transport or a field cannot be used, or the address is taken.
        NotSupported: likewise: the transport has no kernel end.
    """
    definition = Definition(served)
    info = ConnectionInfo(transport=connection) if isinstance(connection, str) else connection
    if not info.key and not allow_unsigned:
        info = info.replace(key=new_key())
    return Service(definition, info)
