"""How a kernel is started, and what is done for it afterwards: values, which a manager remembers."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, get_args

from kernelwire import kernelspecs
from kernelwire.errors import KernelspecError, LocalError
from kernelwire.kernelspecs import KernelSpec
from kernelwire.launcher import Launcher, LocalLauncher

Event = Literal["restart", "dead"]
"""What can follow when a kernel has ended by itself: it was started again, or it will not be."""

Encryption = Literal["disabled", "auto", "required"]
"""Whether a new kernel gets keys to encrypt its wire with: never, if it can use them, or else it is not started."""

_OWN: Final = frozenset({"transport", "ip", "key", "kernel_name"})

_CHANGEABLE: Final = ("kernel_name", "argv", "arguments", "cwd", "env", "launcher", "timeout")


@dataclass(frozen=True, kw_only=True)
class AutoRestart:
    """How often a kernel that ends by itself is started again.

    Attributes:
        limit: how often in a row; 0 for never.
        stable: seconds of life after which the next time is the first again.
    """

    limit: int = 5
    stable: float = 10.0


NEVER: Final = AutoRestart(limit=0)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds that things may take.

    Attributes:
        ready: a kernel until it answers.
        shutdown: a kernel to end once it was asked to, before it is killed.
        reply: a reply to an interrupt_request, or to a shutdown_request to a kernel that is not ours.
    """

    ready: float = 60.0
    shutdown: float = 5.0
    reply: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How a kernel is started: the arguments of ``KernelManager.start``, which are remembered for a restart.

    Raises:
        LocalError: an argument of the wrong kind.
    """

    kernel_name: str = kernelspecs.NATIVE
    transport: str = "tcp"
    launcher: Launcher = dataclasses.field(default_factory=LocalLauncher)
    argv: Sequence[str] | None = None
    arguments: Sequence[str] = ()
    cwd: str | os.PathLike[str] | None = None
    env: Mapping[str, str] | None = None
    ip: str | None = None
    connection_file: str | os.PathLike[str] | None = None
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    encryption: Encryption = "disabled"
    timeout: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.kernel_name, str):
            raise LocalError("kernel_name: text is needed, the name of a kernelspec")
        if not isinstance(self.launcher, Launcher):
            raise LocalError("launcher: an object of a class derived from Launcher is needed")
        for name, path in (("cwd", self.cwd), ("connection_file", self.connection_file)):
            if path is not None and not isinstance(path, str | os.PathLike):
                raise LocalError(f"{name}: a path is needed")
        if self.timeout is not None and not isinstance(self.timeout, int | float):
            raise LocalError("timeout: a number of seconds is needed")
        if self.argv is not None and not self.argv:
            raise LocalError("argv: it is empty; the command and its words are needed")
        for name, words in (("argv", () if self.argv is None else self.argv), ("arguments", self.arguments)):
            if not _are_words(words):
                raise LocalError(f"{name}: a list of text is needed, one piece for each word of the command")
        env = {} if self.env is None else self.env
        if not isinstance(env, Mapping) or not all(isinstance(text, str) for pair in env.items() for text in pair):
            raise LocalError("env: names and values are text")
        if not isinstance(self.fields, Mapping) or not all(isinstance(name, str) for name in self.fields):
            raise LocalError("fields: a mapping from the names of connection fields to their values is needed")
        if own := sorted(set(self.fields) & _OWN):
            raise LocalError(f"fields: {own[0]} is an argument of its own, or is chosen")
        if self.encryption not in get_args(Encryption):
            raise LocalError(f"encryption: {self.encryption!r} is none of {', '.join(get_args(Encryption))}")

    def overridden(self, overrides: Mapping[str, Any]) -> Self:
        """With other values.

        Raises:
            LocalError: a name that no restart can change, or a value of the wrong kind.
        """
        if unknown := sorted(set(overrides) - set(_CHANGEABLE)):
            raise LocalError(f"a restart cannot change {', '.join(unknown)}, only {', '.join(_CHANGEABLE)}")
        if "kernel_name" in overrides:  # words of a command were for the kernel of before
            overrides = {"argv": None, "arguments": (), **overrides}
        return dataclasses.replace(self, **overrides)

    def spec(self) -> KernelSpec:
        """The kernelspec, or what stands for one where there is a command.

        Raises:
            KernelspecError: there is none of this name, or it cannot be used.
        """
        if self.argv is None:
            return kernelspecs.get(self.kernel_name)
        return KernelSpec(self.kernel_name, tuple(self.argv), self.kernel_name)

    def encryption_of(self, spec: KernelSpec) -> Encryption:
        """What `encryption` comes to with this kernelspec. A command is taken to read keys if they are required.

        Raises:
            KernelspecError: required, and the kernelspec does not claim to read keys.
        """
        if self.encryption == "disabled" or "curve" in spec.supported_encryption:
            return self.encryption
        if self.encryption == "auto":
            return "disabled"
        if self.argv is None:
            raise KernelspecError(
                f"kernelspec {spec.name!r}: metadata.supported_encryption does not name 'curve', and encryption is "
                "required: use a kernel that can encrypt, or encryption='auto'"
            )
        return self.encryption


def _are_words(value: object) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return False
    return all(isinstance(word, str) for word in value)
