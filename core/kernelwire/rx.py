"""Channels and executions as observables of ReactiveX. Needs the extra ``kernelwire[rx]``.

::

    rx.execute(client, "print('hello')").subscribe(on_next=print, on_error=print, on_completed=done.set)

An observable does nothing before it is subscribed to, which has to be done in an event loop: the observer is called
there, whatever scheduler `subscribe` is given; ``observe_on`` moves what follows elsewhere. What an observer raises
ends its subscription, and goes to the loop's exception handler.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection
from contextlib import aclosing, suppress
from typing import Any, ParamSpec

from kernelwire.client import KernelClient
from kernelwire.errors import ChannelClosed, GapNotice, KernelwireError, WrongLoop
from kernelwire.message_channel import MessageReceiver
from kernelwire.messages import Message

try:
    from reactivex import Observable
    from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
    from reactivex.disposable import Disposable
except ImportError as error:
    raise ImportError("kernelwire.rx needs reactivex: pip install 'kernelwire[rx]'") from error

P = ParamSpec("P")

OnGap = Callable[[GapNotice], object]
"""Takes the news that messages are missing. Without it they end the subscription: GapNotice goes to `on_error`."""

_tasks: set[asyncio.Task[None]] = set()


def observable(
    channel: MessageReceiver,
    *,
    msg_type: str | Collection[str] | None = None,
    parent: Message | None = None,
    on_gap: OnGap | None = None,
) -> Observable[Message]:
    """The messages of a channel from the subscription on, for any number of observers at once.

    It completes when either end closes the channel. Errors: as
    :meth:`kernelwire.message_channel.MessageReceiver.receive`, and WrongLoop: no event loop runs in this thread.

    Arguments:
        channel: a raw channel; see :func:`kernelwire.open_channels`.
        msg_type: the type that is wanted, or several of them.
        parent: the message that those which are wanted answer.
        on_gap: see :data:`OnGap`.
    """

    async def messages() -> AsyncGenerator[Message, None]:
        with suppress(ChannelClosed):
            async with channel.subscribe(msg_type=msg_type, parent=parent) as subscription:
                async for message in _past_gaps(subscription, on_gap):
                    yield message

    return _observable(messages)


def execute(client: KernelClient, code: str, *, on_gap: OnGap | None = None, **options: Any) -> Observable[Message]:
    """What an execution publishes, then its execute_reply. Each subscription runs the code; ``share`` makes it one.

    An error of the code is a message, and a reply of status ``error``. Disposing of the subscription takes back what
    was not sent yet; code that runs goes on. Errors: as iteration over an :class:`~kernelwire.execution.Execution`, and
    WrongLoop: no event loop runs in this thread.

    Arguments:
        client: runs it.
        code: what to run.
        on_gap: see :data:`OnGap`.
        options: as for :meth:`kernelwire.KernelClient.execute`.
    """

    async def messages() -> AsyncGenerator[Message, None]:
        execution = client.execute(code, **{"keep": False, **options})
        async for message in _past_gaps(execution, on_gap):
            yield message
        yield (await execution).reply

    return _observable(messages)


def _observable(messages: Callable[[], AsyncGenerator[Message, None]]) -> Observable[Message]:
    def subscribe(observer: ObserverBase[Message], _scheduler: SchedulerBase | None = None) -> DisposableBase:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise WrongLoop("no event loop runs in this thread: subscribe where the channel was opened") from None
        task = loop.create_task(_emit(messages(), observer), name="kernelwire observable")
        _tasks.add(task)  # the loop would let it go
        task.add_done_callback(_tasks.discard)

        def dispose() -> None:
            with suppress(RuntimeError):  # the loop is closed, and the task with it
                loop.call_soon_threadsafe(task.cancel)

        return Disposable(dispose)

    return Observable(subscribe)


async def _emit(messages: AsyncGenerator[Message, None], observer: ObserverBase[Message]) -> None:
    try:
        async with aclosing(messages):
            async for message in messages:
                if not _tell(observer.on_next, message):
                    return
    except KernelwireError as error:
        _tell(observer.on_error, error)
    else:
        _tell(observer.on_completed)


async def _past_gaps(messages: AsyncIterable[Message], on_gap: OnGap | None) -> AsyncGenerator[Message, None]:
    while True:
        try:
            async for message in messages:
                yield message
        except GapNotice as notice:
            if on_gap is None:
                raise
            on_gap(notice)
        else:
            return


def _tell(observe: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
    """Tell the observer something; return whether it took it."""
    try:
        observe(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - the observer's code; the loop goes on
        context = {"message": "an observer of kernelwire failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
        return False
    return True
