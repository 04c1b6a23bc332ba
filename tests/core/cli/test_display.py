"""What terminals take for images, and what is said where there are none."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire.cli.display import Folder, Image, as_text, images_in, iterm, kitty, protocol
from kernelwire.errors import ConfigurationError

PNG = Image("image/png", b"\x89PNG\r\n")


@pytest.mark.parametrize(
    ("bundle", "text"),
    [
        ({"text/plain": "a", "text/html": "<b>"}, "a"),
        ({"text/markdown": "# a", "text/latex": "$b$"}, "# a"),
        ({"text/latex": ["$b", "$"]}, "$b$"),
        ({"text/html": "<b>"}, "<text/html, 3 B>"),
        ({"image/png": base64.b64encode(bytes(12_345)).decode()}, "<image/png, 12 kB>"),
        ({"text/html": "ä" * 2_000_000, "a/b": 3}, "<a/b, 1 B; text/html, 4 MB>"),
        ({"image/png": "no base64!"}, "<image/png, 0 B>"),
        ({}, "<>"),
        (None, "<>"),
        (3, "3"),
    ],
)
def test_text(bundle: object, text: str) -> None:
    assert as_text(bundle) == text


def test_images() -> None:
    bundle = {
        "image/svg+xml": ["<svg>", "ä</svg>"],
        "image/jpeg": "no base64!",
        "image/png": base64.encodebytes(PNG.data).decode(),
        "text/plain": "a",
    }
    assert list(images_in(bundle)) == [PNG, Image("image/svg+xml", "<svg>ä</svg>".encode())]
    odd: list[Any] = [None, 3, {}, {"image/png": None}, {"image/png": {}}]
    assert [list(images_in(each)) for each in odd] == [[]] * 5


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"KITTY_WINDOW_ID": "1"}, kitty),
        ({"TERM": "xterm-kitty"}, kitty),
        ({"TERM": "xterm-ghostty"}, kitty),
        ({"TERM_PROGRAM": "ghostty"}, kitty),
        ({"TERM_PROGRAM": "iTerm.app"}, iterm),
        ({"TERM_PROGRAM": "WezTerm"}, iterm),
        ({"TERM_PROGRAM": "iTerm.app", "TMUX": "x"}, None),
        ({"KITTY_WINDOW_ID": "1", "TERM": "screen-256color"}, None),
    ],
)
def test_which_terminal_shows_images(environment: dict[str, str], expected: object) -> None:
    assert protocol(environment) is expected


@given(st.binary(min_size=1, max_size=10_000))
def test_kitty(data: bytes) -> None:
    pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", kitty(Image("image/png", data)))
    assert base64.b64decode("".join(chunk for _, chunk in pieces)) == data
    assert all(len(chunk) <= 4096 for _, chunk in pieces)
    assert pieces[0][0].startswith("a=T,f=100,m=")
    assert [keys[-3:] for keys, _ in pieces] == ["m=1"] * (len(pieces) - 1) + ["m=0"]


def test_iterm() -> None:
    assert iterm(PNG) == f"\x1b]1337;File=inline=1;size=6:{base64.b64encode(PNG.data).decode()}\x07"


def test_what_a_terminal_cannot_show() -> None:
    assert kitty(Image("image/jpeg", b"x")) == ""
    assert iterm(Image("image/svg+xml", b"x")) == ""


def test_a_folder(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "image-2.png").write_bytes(b"an earlier run's")
    paths = [folder.save(each) for each in (PNG, PNG, Image("image/jpeg", b"j"), Image("image/svg+xml", b"s"))]
    assert [path.name for path in paths] == ["image-1.png", "image-3.png", "image-4.jpg", "image-5.svg"]
    assert paths[0].read_bytes() == PNG.data
    assert (tmp_path / "a" / "b" / "image-2.png").read_bytes() == b"an earlier run's"


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "file/below"):
        with pytest.raises(ConfigurationError, match="images cannot be saved there"):
            Folder(tmp_path / name)


def test_a_folder_that_goes_away(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConfigurationError, match=r"image-1\.png: cannot be written: No such file"):
        folder.save(PNG)
