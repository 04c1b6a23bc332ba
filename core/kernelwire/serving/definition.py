"""What an object needs to be a kernel, checked before it is served, and what it says of itself."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final

from kernelwire.errors import InvalidKernel
from kernelwire.messages import PROTOCOL_VERSION

METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "execute": ("code", "run"),
    "complete": ("code", "cursor_pos"),
    "inspect": ("code", "cursor_pos", "detail_level"),
    "is_complete": ("code",),
    "history": ("request",),
    "kernel_info": (),
    "comm_open": ("comm", "message"),
    "comm_msg": ("comm", "message"),
    "comm_close": ("comm", "message"),
    "interrupt": (),
    "restart": (),
    "shutdown": (),
}
"""The methods that are called, with what they are given; all but ``execute`` may be absent."""

_ATTRIBUTES: Final[Mapping[str, type]] = {
    "implementation": str,
    "implementation_version": str,
    "banner": str,
    "language_info": Mapping,
    "help_links": list,
}

_LANGUAGE: Final = {"name": "text", "version": "", "mimetype": "text/plain", "file_extension": ".txt"}

Method = Callable[..., Awaitable[Any]]


class Definition:
    """An object that was found fit to be served.

    Arguments:
        served: the object.

    Raises:
        InvalidKernel: a method is missing, not async, or takes other arguments; an attribute is of another type.
    """

    def __init__(self, served: object) -> None:
        if isinstance(served, type):
            raise InvalidKernel(f"{served.__name__} is a class: serve an instance of it, {served.__name__}(...)")
        self._served = served
        self._name = type(served).__name__
        self._methods = {name: self._checked(name) for name in METHODS if hasattr(served, name)}
        if "execute" not in self._methods:
            raise InvalidKernel(f"{self._name} has no method execute: write `async def execute(self, code, run)`")
        self._check_attributes()

    def method(self, name: str) -> Method | None:
        """A method of the object; None if it has none of that name."""
        return self._methods.get(name)

    def entered(self) -> AbstractAsyncContextManager[object]:
        """The object, if it is an async context manager itself."""
        served: AbstractAsyncContextManager[object] = self._served  # type: ignore[assignment]
        return served if isinstance(self._served, AbstractAsyncContextManager) else nullcontext()

    @property
    def execution_count(self) -> int | None:
        """The number of the next execution, where the object counts by itself."""
        count = getattr(self._served, "execution_count", None)
        return count if isinstance(count, int) else None

    async def kernel_info(self) -> dict[str, Any]:
        """The content of a kernel_info_reply, from the object's attributes and its ``kernel_info``, if it has one."""
        info: dict[str, Any] = {
            "status": "ok",
            "protocol_version": PROTOCOL_VERSION,
            "implementation": self._name,
            "implementation_version": "",
            "banner": self._name,
            "help_links": [],
            "supported_features": [],
        }
        info |= {name: getattr(self._served, name) for name in _ATTRIBUTES if hasattr(self._served, name)}
        if (method := self.method("kernel_info")) is not None:
            info |= as_mapping("kernel_info", await method())
        info["language_info"] = _LANGUAGE | dict(info.get("language_info", {}))
        return info

    def _checked(self, name: str) -> Method:
        method = getattr(self._served, name)
        wanted = f"async def {name}({', '.join(('self', *METHODS[name]))})"
        if not callable(method):
            raise InvalidKernel(f"{self._name}.{name} is no method: write `{wanted}`")
        if not inspect.iscoroutinefunction(method) and not inspect.iscoroutinefunction(type(method).__call__):
            raise InvalidKernel(f"{self._name}.{name} is not async: write `{wanted}`")
        try:
            inspect.signature(method).bind(*METHODS[name])
        except TypeError as error:
            raise InvalidKernel(f"{self._name}.{name} takes other arguments ({error}): write `{wanted}`") from None
        except ValueError:  # it does not tell
            pass
        checked: Method = method
        return checked

    def _check_attributes(self) -> None:
        for name, kind in _ATTRIBUTES.items():
            value = getattr(self._served, name, None)
            if value is not None and not isinstance(value, kind):
                needed = "text" if kind is str else "a list" if kind is list else "a mapping"
                raise InvalidKernel(f"{self._name}.{name}: {type(value).__name__} where {needed} is needed")


def as_mapping(method: str, value: object) -> Mapping[str, Any]:
    """What a method returned, if it is the fields of a reply.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{method} returned {type(value).__name__} where a mapping is needed")
    return value
