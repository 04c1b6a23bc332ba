"""What the kernel displays, as a terminal can show it: text, images inline or as files, a name for the rest.

Sources: https://sw.kovidgoyal.net/kitty/graphics-protocol/; https://iterm2.com/documentation-images.html.
"""

import base64
import binascii
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from kernelwire.errors import ConfigurationError

IMAGES: Final[Mapping[str, str]] = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
}
"""Types of images, the ones that are shown first first, and how the names of their files end."""

_TEXTS: Final = ("text/plain", "text/markdown", "text/latex")
_KITTY_CHUNK: Final = 4096


class Image(NamedTuple):
    """An image.

    Attributes:
        mime: its type, one of :data:`IMAGES`.
        data: as it would be in a file.
    """

    mime: str
    data: bytes


Protocol = Callable[[Image], str]
"""Makes what a terminal takes for an image; empty for one that it cannot show."""


def images_in(bundle: object) -> Iterator[Image]:
    """The images of a MIME bundle; what is none after all is left out."""
    if not isinstance(bundle, Mapping):
        return
    for mime in IMAGES:
        if mime in bundle and (data := _decoded(mime, bundle[mime])):
            yield Image(mime, data)


def as_text(bundle: object) -> str:
    """A MIME bundle in one line or more; what has no text is named, with its size."""
    if not isinstance(bundle, Mapping):
        return "<>" if bundle is None else str(bundle)
    for mime in _TEXTS:
        if mime in bundle:
            return _joined(bundle[mime])
    return f"<{'; '.join(f'{mime}, {_size(mime, bundle[mime])}' for mime in sorted(bundle))}>"


def protocol(environment: Mapping[str, str]) -> Protocol | None:
    """How this terminal shows images; None if it does not, or does not say."""
    if "TMUX" in environment or environment.get("TERM", "").startswith(("screen", "tmux")):
        return None  # what is between us and the terminal passes nothing on that it does not know
    program = environment.get("TERM_PROGRAM", "").lower()
    if "KITTY_WINDOW_ID" in environment or environment.get("TERM") in ("xterm-kitty", "xterm-ghostty"):
        return kitty
    if program == "ghostty":
        return kitty
    if program in ("iterm.app", "wezterm"):
        return iterm
    return None


def kitty(image: Image) -> str:
    """An image in the graphics protocol of kitty, which takes PNG."""
    if image.mime != "image/png":
        return ""
    text = base64.b64encode(image.data).decode("ascii")
    starts = range(0, len(text), _KITTY_CHUNK)
    pieces = []
    for start in starts:
        keys = ("a=T,f=100," if start == 0 else "") + f"m={int(start != starts[-1])}"
        pieces.append(f"\x1b_G{keys};{text[start : start + _KITTY_CHUNK]}\x1b\\")
    return "".join(pieces)


def iterm(image: Image) -> str:
    """An image in the protocol of iTerm2, which takes whatever the system does; SVG is not among that everywhere."""
    if image.mime == "image/svg+xml":
        return ""
    text = base64.b64encode(image.data).decode("ascii")
    return f"\x1b]1337;File=inline=1;size={len(image.data)}:{text}\x07"


class Folder:
    """Where images are saved. Made at once, and tried, so that it is known before anything runs.

    Arguments:
        path: a directory; made if it is not there.

    Raises:
        ConfigurationError: nothing can be written there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._count = 0
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self._path).close()
        except OSError as error:
            raise ConfigurationError(f"{self._path}: images cannot be saved there: {error.strerror}") from error

    def save(self, image: Image) -> Path:
        """Write an image to a new file, and return its path.

        Raises:
            ConfigurationError: it cannot be written.
        """
        while True:
            self._count += 1
            path = self._path / f"image-{self._count}.{IMAGES[image.mime]}"
            try:
                with path.open("xb") as file:
                    file.write(image.data)
                return path
            except FileExistsError:  # an earlier run's
                continue
            except OSError as error:
                raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error


def _decoded(mime: str, value: object) -> bytes:
    text = _joined(value) if isinstance(value, str | list) else ""
    if mime == "image/svg+xml":
        return text.encode("utf-8", "replace")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _joined(value: object) -> str:
    """Text as a MIME bundle may have it: in one piece, or as a list of lines."""
    return "".join(map(str, value)) if isinstance(value, list) else str(value)


def _size(mime: str, value: object) -> str:
    size = float(len(_decoded(mime, value) if mime in IMAGES else _joined(value).encode("utf-8", "replace")))
    for unit in ("B", "kB", "MB"):
        if size < 1000 or unit == "MB":
            break
        size /= 1000
    return f"{size:.0f} {unit}"
