"""What a process has once, told apart by who runs."""

import builtins
import contextvars
import getpass
import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kernelwire_inprocess.routing import Installation, RoutedStream, current


class Kept:
    """A route that keeps what it is given."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str]] = []
        self.shown: list[object] = []

    def write(self, name: str, text: str) -> None:
        self.written.append((name, text))

    def ask(self, prompt: str, password: bool) -> str:
        return f"{prompt}{password}"

    def display(self, value: object) -> None:
        self.shown.append(value)


@contextmanager
def installed() -> Iterator[None]:
    """In the test itself, since pytest changes the streams between a test and its fixtures."""
    installation = Installation()
    installation.hold()
    try:
        yield
    finally:
        installation.release()


def routed(route: Kept, work: object) -> None:
    assert callable(work)

    def run() -> None:
        current.set(route)
        work()

    contextvars.Context().run(run)


def test_only_the_routes_output_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    route = Kept()
    with installed():
        routed(route, lambda: print("mine", file=sys.stderr))
        routed(route, lambda: print("mine", end=""))
        print("everybody's")
    assert ("stderr", "mine") in route.written
    assert route.written[-1] == ("stdout", "mine")
    assert capsys.readouterr() == ("everybody's\n", "")


def test_threads_follow_who_started_them() -> None:
    first, second = Kept(), Kept()

    def start() -> None:
        inner = threading.Thread(target=lambda: print("inner", end=""))

        def run_inner() -> None:
            inner.start()
            inner.join()

        outer = threading.Thread(target=run_inner)
        outer.start()
        outer.join()

    with installed():
        routed(first, start)
        routed(second, start)
        free = threading.Thread(target=lambda: second.shown.append(current.get()))
        free.start()
        free.join()
    assert first.written == second.written == [("stdout", "inner")]
    assert second.shown == [None]


def test_questions_and_values() -> None:
    route = Kept()

    def ask() -> None:
        route.shown += [input("a"), getpass.getpass("b")]
        sys.displayhook(3)

    with installed():
        routed(route, ask)
    assert route.shown == ["aFalse", "bTrue", 3]


def test_everything_is_put_back() -> None:
    names = [(sys, "stdout"), (sys, "stderr"), (sys, "displayhook"), (builtins, "input"), (getpass, "getpass")]
    before = [getattr(owner, name) for owner, name in names]
    start = threading.Thread.start
    installation = Installation()
    installation.hold()
    installation.hold()
    installation.extend("more", lambda it: it.replace(builtins, "kernelwire_test", 1))
    installation.extend("more", lambda it: it.replace(builtins, "kernelwire_test", 2))
    assert builtins.kernelwire_test == 1  # type: ignore[attr-defined]
    installation.release()
    assert isinstance(sys.stdout, RoutedStream)
    installation.release()
    assert [getattr(owner, name) for owner, name in names] == before
    assert threading.Thread.start is start
    assert not hasattr(builtins, "kernelwire_test")


def test_what_others_have_replaced_since_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    installation = Installation()
    installation.hold()
    theirs = io.StringIO()
    ours = sys.stdout
    monkeypatch.setattr(sys, "stdout", theirs)
    installation.release()
    assert sys.stdout is theirs
    assert isinstance(ours, RoutedStream)


def test_a_stream_of_a_route_is_no_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return 1

    original = Terminal()
    stream = RoutedStream("stdout", original)
    route = Kept()
    assert (stream.isatty(), stream.fileno(), stream.writable()) == (True, 1, True)
    assert stream.write("theirs") == 6
    assert original.getvalue() == stream.getvalue() == "theirs"

    def use() -> None:
        assert (stream.isatty(), stream.encoding) == (False, "utf-8")
        with pytest.raises(io.UnsupportedOperation):
            stream.fileno()
        with pytest.raises(TypeError, match="must be str, not bytes"):
            stream.write(b"")  # type: ignore[arg-type]
        assert stream.write("") == 0
        stream.flush()

    routed(route, use)
    assert route.written == []
