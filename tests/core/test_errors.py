import inspect
import re
import traceback
from collections.abc import Callable

import pytest

from kernelwire import errors
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import (
    GapNotice,
    InvalidField,
    KernelwireError,
    MessageTooLarge,
    UnknownTransport,
)
from kernelwire.link import envelope, framing, records, seal
from kernelwire.messages import Message, freeze
from kernelwire.session import Session
from kernelwire.signing import Signer
from kernelwire.ticket import key_of

SECRET = "".join(["5ec", "ret"])  # not one literal: a traceback quotes source lines


def drawn_tree() -> dict[str, str]:
    """Each class of the docstring's drawing, with the class it hangs from."""
    path: list[str] = []
    parents: dict[str, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r" {4}((?:│   | {4})*(?:[├└]── )?)([A-Z]\w+)", line):
            del path[len(found[1]) // 4 :]
            parents[found[2]] = path[-1] if path else "Exception"
            path.append(found[2])
    return parents


def test_the_drawing_is_the_class_tree() -> None:
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, Exception)]
    assert all(len(cls.__bases__) == 1 for cls in classes)
    assert drawn_tree() == {cls.__name__: cls.__bases__[0].__name__ for cls in classes}


def test_every_error_is_documented() -> None:
    for name in drawn_tree():
        assert vars(vars(errors)[name])["__doc__"]


def test_attributes_say_what_the_text_says() -> None:
    large = MessageTooLarge(11, 10)
    assert (large.size, large.limit) == (11, 10)
    assert "11" in str(large)
    assert "10" in str(large)

    field = InvalidField("hb_port", "missing")
    assert field.field == "hb_port"
    assert "hb_port" in str(field)
    assert "missing" in str(field)

    unknown = UnknownTransport("carrier", ["ipc", "tcp"], "; did you mean tcp?")
    assert (unknown.name, unknown.available) == ("carrier", ("ipc", "tcp"))
    assert str(unknown) == "no transport 'carrier' is installed (installed: ipc, tcp); did you mean tcp?"
    assert "none" in str(UnknownTransport("carrier", []))

    assert issubclass(errors.WireDown, errors.NoBeat)  # who knows nothing of links takes it for a miss
    assert issubclass(errors.OutcomeUnknown, errors.RequestFailed)
    assert issubclass(errors.SealBroken, errors.LinkViolation)
    assert not issubclass(errors.LinkViolation, errors.WireError)  # it never ends a channel

    gap = GapNotice(3, None, "the queue was full")
    assert (gap.count, gap.size, gap.reason) == (3, None, "the queue was full")
    assert "3 messages" in str(gap)
    assert "unknown number" in str(GapNotice(None, None, "reconnected"))
    again = gap.again()
    assert again is not gap
    assert (str(again), again.count, again.size, again.reason) == (str(gap), 3, None, "the queue was full")


class Opaque:
    def __repr__(self) -> str:
        return SECRET


def signed(content: bytes, key: bytes = SECRET.encode()) -> list[bytes]:
    parts = [b'{"msg_type":"stream"}', b"{}", b"{}", content]
    return [Signer(key).sign(parts), *parts]


def replayed() -> None:
    session = Session(SECRET.encode())
    session.unpack(signed(b"{}"))
    session.unpack(signed(b"{}"))


MISUSES: dict[str, Callable[[], object]] = {
    "key in a port": lambda: ConnectionInfo.from_dict({"shell_port": SECRET}),
    "key in a list": lambda: ConnectionInfo.from_dict({"key": [SECRET]}),
    "key without UTF-8": lambda: ConnectionInfo(key=SECRET.encode() + b"\xff"),
    "key with a surrogate": lambda: ConnectionInfo.from_dict({"key": SECRET + "\ud800"}),
    "key as curve key": lambda: ConnectionInfo.from_dict({"curve_secretkey": SECRET}),
    "key in the address": lambda: ConnectionInfo.from_dict({"ip": [SECRET]}),
    "address with a NUL": lambda: ConnectionInfo(ip=SECRET + "\0"),
    "key beside a bad scheme": lambda: Session(SECRET.encode(), signature_scheme="hmac-none"),
    "key as text": lambda: Signer(SECRET),  # type: ignore[arg-type]
    "port missing": lambda: ConnectionInfo(key=SECRET.encode()).port("hb_port"),
    "no buffer": lambda: freeze(SECRET),  # type: ignore[arg-type]
    "no JSON value": lambda: Session().pack(Message({}, content={"a": Opaque()})),
    "no JSON key": lambda: Session().pack(Message({}, content={"a": {(SECRET,): 1}})),
    "no JSON": lambda: Session().unpack(signed(b'{"a": "%s"' % SECRET.encode(), b"")),
    "no object": lambda: Session().unpack(signed(b'["%s"]' % SECRET.encode(), b"")),
    "no signature": lambda: Session(SECRET.encode()).unpack([b"", *signed(b"{}")[1:]]),
    "another key": lambda: Session(SECRET.encode() + b"!").unpack(signed(b"{}")),
    "replay": replayed,
    "secret of a link": lambda: key_of(ConnectionInfo(extra={"link_secret": SECRET}), "link_secret"),
    "a key of a link that is no text": lambda: key_of(ConnectionInfo(extra={"host_key": [SECRET]}), "host_key"),
    "secret of a seal": lambda: seal.check_secret(SECRET.encode()),
    "key of a seal": lambda: seal.public_key(SECRET.encode()),
    "no frame of a link": lambda: list(records.decode(SECRET.encode())),
    "no message of a link": lambda: envelope.unpack(0, memoryview(SECRET.encode())),
    "no stream of a link": lambda: framing.Deframer(100).feed(SECRET.encode()),
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES.keys())
def test_no_error_shows_a_key_or_content(misuse: Callable[[], object]) -> None:
    with pytest.raises(KernelwireError) as caught:
        misuse()
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    assert str(caught.value)
    # json's own errors hold the whole document.
    assert not hasattr(caught.value.__context__, "doc")
