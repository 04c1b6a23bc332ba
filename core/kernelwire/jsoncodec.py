"""JSON as Jupyter peers speak it: fast where it can be, the standard library where it must be.

msgspec encodes and decodes nearly everything. What it refuses, or would change without a word, goes to
:mod:`json`: NaN and the infinities (msgspec writes ``null``), lone surrogates, None and bool keys, numbers out of
range, a byte order mark. So a value that Python's own ``json`` carries arrives as it left.
"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from kernelwire.errors import InvalidMessage, MalformedMessage

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def encode(value: object, what: str) -> bytes:
    """Serialise `value`; `what` names it in errors ("content", "metadata", ...).

    bytes become base64 text, dates ISO 8601, sets and tuples arrays, as jupyter_client writes them.

    Raises:
        InvalidMessage: the value holds something that JSON cannot say, or nests too deep.
    """
    try:
        encoded = _encoder.encode(value)
        if b"null" not in encoded:
            return encoded
        # Only a None or a number that JSON lacks is written as null; the standard library tells which. It needs
        # plain values for that: it stops at keys that msgspec can write, such as dates.
        value = msgspec.to_builtins(value, str_keys=True)
        if not _has_non_finite(value):
            return encoded
    except (TypeError, ValueError, BufferError, RecursionError, msgspec.MsgspecError):
        pass
    return _encode_slowly(value, what)


def decode(data: bytes | memoryview, what: str) -> Any:
    """Parse `data`; `what` names it in errors.

    Bytes that are no UTF-8 are replaced, not refused: kernels print what they are told to.

    Raises:
        MalformedMessage: not JSON, or nested too deep.
    """
    try:
        return _decoder.decode(data)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        pass
    try:
        return json.loads(str(data, "utf-8-sig", "replace"))
    except RecursionError:
        problem = "nested too deep"
    except ValueError as error:
        problem = f"not JSON (at character {getattr(error, 'pos', 0)})"
    # Raised out here, with no context: the error above holds the whole document, which must not travel.
    raise MalformedMessage(f"{what}: {problem}")


def _has_non_finite(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return True
    return False


def _encode_slowly(value: object, what: str) -> bytes:
    try:
        # ASCII escapes carry lone surrogates, which UTF-8 cannot.
        return json.dumps(value, separators=(",", ":"), default=_plain).encode("ascii")
    except RecursionError:
        raise InvalidMessage(f"{what}: nested too deep for JSON") from None
    except (TypeError, ValueError) as error:
        raise InvalidMessage(f"{what}: {error}") from None


def _plain(value: object) -> object:
    """What msgspec makes of a value that :mod:`json` does not know (bytes, dates, sets, dataclasses)."""
    if isinstance(value, Mapping):
        return dict(value)
    try:
        return msgspec.to_builtins(value)
    except (TypeError, BufferError):
        raise TypeError(f"an object of type {type(value).__name__} has no form in JSON") from None
