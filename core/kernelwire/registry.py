"""From a transport's name to its backend, through the entry-point group ``kernelwire.backends``.

Names are listed from the metadata of installed distributions without importing anything; then stevedore loads exactly
the one that was asked for. One that only kernelwire itself claims needs neither, which is a sixth of a client's start.
"""

import importlib
from typing import TYPE_CHECKING, Final, NamedTuple

from kernelwire import entry_point_files
from kernelwire.backend import Backend
from kernelwire.errors import AmbiguousTransport, TransportUnavailable, UnknownTransport

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "kernelwire.backends"


_OWN: Final = "kernelwire"


class InstalledBackend(NamedTuple):
    """An entry of the group, not imported.

    Attributes:
        name: the transport's name, as in a connection file.
        value: ``module:attribute``.
        distribution: the name of the distribution that provides it.
        version: that distribution's version.
    """

    name: str
    value: str
    distribution: str
    version: str


def installed() -> list[InstalledBackend]:
    """What is installed, by name; a name that two distributions claim is there twice."""
    from importlib import metadata

    entries = metadata.entry_points(group=GROUP)
    return sorted({InstalledBackend(entry.name, entry.value, *_distribution(entry)) for entry in entries})


def load(name: str) -> Backend:
    """Import the one backend of this name and make an instance.

    Raises:
        UnknownTransport: no distribution provides it; the text lists what is installed, and the nearest name.
        AmbiguousTransport: several do; the text names them.
        TransportUnavailable: it cannot be imported (the text says what to install), is no Backend, or fails when made.
    """
    if (own := _own(name)) is not None:
        return own()
    entry = _entry(name)
    backend = _load_entry(entry)
    if not (isinstance(backend, type) and issubclass(backend, Backend)):
        raise TransportUnavailable(
            f"transport {name!r}: {entry.value} of {_distribution(entry)[0]} is no subclass of kernelwire.Backend"
        )
    try:
        return backend()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise TransportUnavailable(f"transport {name!r}: {entry.value} cannot be made ({reason})") from error


def _own(name: str) -> type[Backend] | None:
    """The class of a transport that kernelwire itself brings, and nobody else claims; None if that is not plain."""
    try:
        ((distribution, value),) = entry_point_files.claims(GROUP, name)
    except (entry_point_files.NotPlain, ValueError):
        return None
    if distribution != _OWN:
        return None
    module, _, attribute = value.partition(":")
    try:
        found: type[Backend] = getattr(importlib.import_module(module), attribute)
    except ImportError:  # an extra is not installed: the long way says which
        return None
    return found


def _entry(name: str) -> "EntryPoint":
    from importlib import metadata

    entries = {(entry.value, *_distribution(entry)): entry for entry in metadata.entry_points(group=GROUP, name=name)}
    if not entries:
        raise _unknown(name)
    if len(entries) > 1:
        claims = " and ".join(f"{distribution} ({value})" for value, distribution, _ in sorted(entries))
        raise AmbiguousTransport(f"transport {name!r} is provided by {claims}: uninstall all but one")
    return entries.popitem()[1]


def _load_entry(entry: "EntryPoint") -> object:
    from stevedore.driver import DriverManager  # here, because most programs load one backend late or none

    class OneEntry(DriverManager[object]):
        """Looks only at the entry that was chosen. stevedore's own look-up goes through a cache on disk, whose clock
        has steps of two minutes, and forgets which distribution an entry is from.
        """

        def list_entry_points(self) -> "list[EntryPoint]":
            return [entry]

    try:
        return OneEntry(GROUP, entry.name).driver
    except (Exception, SystemExit) as error:  # a module that exits must not take us along
        raise TransportUnavailable(_advice(entry, error)) from error


def _advice(entry: "EntryPoint", error: BaseException) -> str:
    distribution, _ = _distribution(entry)
    text = f"transport {entry.name!r} of {distribution} cannot be imported ({type(error).__name__}: {error})"
    if not isinstance(error, ImportError):
        return text
    if entry.dist is not None and entry.name in (entry.dist.metadata.get_all("Provides-Extra") or ()):
        return f"{text}; install it with: pip install '{distribution}[{entry.name}]'"
    if error.name:
        return f"{text}; install what provides the module {error.name!r}"
    return text


def _unknown(name: str) -> UnknownTransport:
    import difflib

    names = sorted({entry.name for entry in installed()})
    near = difflib.get_close_matches(name, names, 1)
    if near:
        hint = f"; did you mean {near[0]!r}?"
    else:
        hint = f"; install the distribution that provides it (its entry-point group is {GROUP!r})"
    return UnknownTransport(name, names, hint)


def _distribution(entry: "EntryPoint") -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("an unknown distribution", "")
