"""Jupyter protocol v4 messages as v5, and back: no other module knows that there was a v4.

Source: "Messaging in Jupyter", https://jupyter-client.readthedocs.io/en/stable/messaging.html, its changelog for 5.0,
and "Messaging in IPython" of IPython 2 for what 4.1 was. One pair of functions per message type that changed, each
from content to content, in a table at the end by the type's v5 name. A content that does not fit its type comes out
as it went in: an adapter translates what it understands, and whoever reads the message judges the rest.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from kernelwire.messages import Message

Content = Mapping[str, Any]
Adapt = Callable[[Content], Content]

_V5_NAMES: Final = {
    "pyout": "execute_result",
    "pyin": "execute_input",
    "pyerr": "error",
    "object_info_request": "inspect_request",
    "object_info_reply": "inspect_reply",
}
_V4_NAMES: Final = {v5: v4 for v4, v5 in _V5_NAMES.items()}

_NUMBER: Final = re.compile(r"\d{1,9}", re.ASCII)
_DOTTED_NAME: Final = re.compile(r"[^\W\d][\w.]*")

_DEFINITIONS: Final = ("call_def", "init_definition", "definition")
_DOCSTRINGS: Final = ("call_docstring", "init_docstring", "docstring")


def is_v4(message: Message) -> bool:
    """Whether the message is of protocol v4 or older: its header names no version, or a major below 5.

    A version that cannot be read counts as v5: most v4 peers sent none at all.
    """
    return _is_v4_header(message.header)


def to_v5(message: Message) -> Message:
    """The message as a v5 peer would have sent it; one that is v5 already is returned as it is.

    A ``complete_reply`` of v4 does not say where the cursor was. Its v5 form has ``cursor_end`` null, which means "at
    the cursor", and ``cursor_start`` negative, counted from there, or null too if nothing is to be replaced.
    """
    if not is_v4(message):
        return message
    adapted = msgspec.structs.replace(
        message,
        header=_header_to_v5(message.header),
        parent_header=_header_to_v5(message.parent_header),
    )
    return msgspec.structs.replace(adapted, content=_adapted(message.content, _TO_V5.get(adapted.msg_type)))


def to_v4(message: Message) -> Message:
    """The message as a v4 peer would have sent it; one that is v4 already is returned as it is.

    What v4 has no place for is left out: banners, completion metadata, an inspection's types other than text.
    """
    if is_v4(message):
        return message
    return msgspec.structs.replace(
        message,
        header=_header_to_v4(message.header),
        parent_header=_header_to_v4(message.parent_header),
        content=_adapted(message.content, _TO_V4.get(message.msg_type)),
    )


def _is_v4_header(header: Content) -> bool:
    if "version" not in header:
        return True
    version = header["version"]
    if type(version) is str and version.startswith("5."):  # nearly always
        return False
    major = _NUMBER.match(version) if isinstance(version, str) else None
    return major is not None and int(major[0]) < 5


def _header_to_v5(header: Content) -> Content:
    # No parent stays no parent, and a v4 kernel may echo the header of our request whole: that is v5 already.
    if not header or not _is_v4_header(header):
        return header
    return _with_type({**header, "version": "5.0"}, _V5_NAMES)


def _header_to_v4(header: Content) -> Content:
    return _with_type(_without(header, "version"), _V4_NAMES)


def _with_type(header: Content, names: Mapping[str, str]) -> Content:
    match header:
        case {"msg_type": str(name)} if name in names:
            return {**header, "msg_type": names[name]}
    return header


def _adapted(content: Content, adapt: Adapt | None) -> Content:
    match content:
        case {"status": "error" | "aborted"}:  # a failure has the same fields in both versions
            return content
        case {} if adapt:
            return adapt(content)
    return content


def _without(content: Content, *names: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in names}


def _kernel_info_to_v5(content: Content) -> Content:
    reply = {"status": "ok", "banner": "", **content}
    reply["protocol_version"] = _version_text(content.get("protocol_version", "4.1"))
    match reply:
        # Other kernels wrote whatever they liked here.
        case {"language": str(language), "ipython_version": version} if language.startswith("python"):
            reply = _without(reply, "ipython_version")
            reply |= {"implementation": "ipython", "implementation_version": _version_text(version)}
    match reply.get("language_info", {}):
        case {**language_info}:
            if "language" in reply:
                language_info.setdefault("name", reply.pop("language"))
            if "language_version" in reply:
                language_info.setdefault("version", _version_text(reply.pop("language_version")))
            reply["language_info"] = language_info
    return reply


def _kernel_info_to_v4(content: Content) -> Content:
    new = ("status", "banner", "help_links", "implementation", "implementation_version", "language_info")
    reply = {"language": "", **_without(content, *new)}
    if "protocol_version" in content:
        reply["protocol_version"] = _version_numbers(content["protocol_version"])
    match content:
        case {"implementation": "ipython", "implementation_version": version}:
            reply["ipython_version"] = _version_numbers(version)
    match content.get("language_info"):
        case {**language_info}:
            reply["language"] = language_info.get("name", "")
            if "version" in language_info:
                reply["language_version"] = _version_numbers(language_info["version"])
    return reply


def _version_text(version: object) -> object:
    """``[4, 1]`` as "4.1". IPython's own has four parts, the last of them mostly empty."""
    match version:
        case [*parts] if all(isinstance(p, str) or (isinstance(p, int) and 0 <= p < 10**9) for p in parts):
            return ".".join(str(part) for part in parts if part != "")
    return version


def _version_numbers(version: object) -> object:
    """The text "5.4" as ``[5, 4]``; parts that are no numbers are left out."""
    if not isinstance(version, str):
        return version
    return [int(part) for part in version.split(".") if _NUMBER.fullmatch(part)]


def _execute_request_to_v5(content: Content) -> Content:
    match (content.get("user_variables", []), content.get("user_expressions", {})):
        case ([*names], {**expressions}) if all(isinstance(name, str) for name in names):
            merged = {name: name for name in names} | expressions
            return {**_without(content, "user_variables"), "user_expressions": merged}
    return content


def _execute_reply_to_v5(content: Content) -> Content:
    match (content.get("user_variables", {}), content.get("user_expressions", {})):
        case ({**variables}, {**expressions}):
            merged = variables | expressions
            content = {**_without(content, "user_variables"), "user_expressions": merged}
    return _with_payloads(content, _page_to_v5)


def _execute_reply_to_v4(content: Content) -> Content:
    return _with_payloads({"user_variables": {}, **content}, _page_to_v4)


def _with_payloads(content: Content, adapt: Callable[[object], object]) -> Content:
    match content:
        case {"payload": [*payloads]}:
            return {**content, "payload": [adapt(payload) for payload in payloads]}
    return content


def _page_to_v5(payload: object) -> object:
    """What the pager shows became one type of a mime bundle."""
    match payload:
        case {"source": "page", "text": text, **rest}:
            match rest.get("data", {}):
                case {**data}:
                    return {**rest, "source": "page", "data": {**data, "text/plain": text}}
    return payload


def _page_to_v4(payload: object) -> object:
    match payload:
        case {"source": "page", "data": {"text/plain": text, **others}, **rest}:
            return {**rest, "source": "page", "text": text} | ({"data": others} if others else {})
    return payload


def _complete_request_to_v5(content: Content) -> Content:
    match content:
        case {"line": str(line), "cursor_pos": int(position), **rest}:
            return {**_without(rest, "text", "block"), "code": line, "cursor_pos": position}
    return content


def _complete_request_to_v4(content: Content) -> Content:
    match content:
        case {"code": str(code), "cursor_pos": int(position), **rest}:
            line, column = _line_at(code, position)
            return {**rest, "text": "", "line": line, "block": None, "cursor_pos": column}
    return content


def _complete_reply_to_v5(content: Content) -> Content:
    match content:
        case {"matches": [*_], "matched_text": str(text)}:
            # There is no -0, so null says that the start is the cursor itself.
            span = {"cursor_start": -len(text) or None, "cursor_end": None}
            return {"status": "ok", "metadata": {}, **_without(content, "matched_text"), **span}
    return content


def _complete_reply_to_v4(content: Content) -> Content:
    match content:
        case {"matches": [*matches], "cursor_start": int() | None as start, "cursor_end": int() | None as end}:
            # The reply does not quote the code; but what is replaced begins like what replaces it, nearly always.
            first = matches[0] if matches and isinstance(matches[0], str) else ""
            length = 0 if start is None else max(0, (end or 0) - start)
            kept = _without(content, "cursor_start", "cursor_end", "metadata")
            return {**kept, "matched_text": first[:length]}
    return content


def _inspect_request_to_v5(content: Content) -> Content:
    match content:
        case {"oname": str(name), **rest}:
            return {"detail_level": 0, **rest, "code": name, "cursor_pos": len(name)}
    return content


def _inspect_request_to_v4(content: Content) -> Content:
    match content:
        case {"code": str(code), "cursor_pos": int(position), **rest}:
            return {"detail_level": 0, **rest, "oname": _name_at(*_line_at(code, position))}
    return content


def _inspect_reply_to_v5(content: Content) -> Content:
    match content:
        case {"found": bool(found)}:
            data = {"text/plain": _description(content)} if found else {}
            return {"status": "ok", "found": found, "data": data, "metadata": {}}
    return content


def _inspect_reply_to_v4(content: Content) -> Content:
    match content:
        case {"found": True, "data": {"text/plain": str(text)}}:
            return {"found": True, "oname": "unknown", "docstring": text}
        case {"found": bool(found)}:
            return {"found": found, "oname": "unknown"}
    return content


def _description(info: Content) -> str:
    """The definition and the docstring, the most special of each."""
    lines = []
    for fields in _DEFINITIONS, _DOCSTRINGS:
        texts = (info.get(field) for field in fields)
        lines += [text for text in texts if isinstance(text, str) and text][:1]
    return "\n".join(lines) or "<empty docstring>"


def _line_at(code: str, position: int) -> tuple[str, int]:
    """The line that the cursor is in, without its end, and the cursor's place in it."""
    position = max(0, min(position, len(code)))
    start = code.rfind("\n", 0, position) + 1
    return code[start:].partition("\n")[0], position - start


def _name_at(line: str, column: int) -> str:
    """The dotted name around the cursor, up to the end of the part that the cursor is in; empty if there is none."""
    for name in _DOTTED_NAME.finditer(line):
        if name.start() <= column <= name.end():
            end = line.find(".", column, name.end())
            return line[name.start() : name.end() if end < 0 else end].rstrip(".")
    return ""


def _with_json(content: Content, convert: Callable[[Any], object]) -> Content:
    """JSON in a mime bundle was text once and is a value now. Text that is no JSON stays text."""
    match content:
        case {"data": {"application/json": value, **others}}:
            try:
                return {**content, "data": {**others, "application/json": convert(value)}}
            except (TypeError, ValueError, RecursionError):
                pass
    return content


def _with_field(content: Content, old: str, new: str) -> Content:
    if old not in content or new in content:
        return content
    return {**_without(content, old), new: content[old]}


_ADAPTERS: Final[Mapping[str, tuple[Adapt, Adapt]]] = {
    "complete_reply": (_complete_reply_to_v5, _complete_reply_to_v4),
    "complete_request": (_complete_request_to_v5, _complete_request_to_v4),
    "display_data": (
        lambda content: _with_json(_without(content, "source"), json.loads),
        lambda content: _with_json({"source": "display", **content}, json.dumps),
    ),
    "execute_reply": (_execute_reply_to_v5, _execute_reply_to_v4),
    "execute_request": (_execute_request_to_v5, lambda content: {"user_variables": [], **content}),
    "execute_result": (
        lambda content: _with_json(content, json.loads),
        lambda content: _with_json(content, json.dumps),
    ),
    "input_request": (
        lambda content: {"password": False, **content},
        lambda content: _without(content, "password"),
    ),
    "inspect_reply": (_inspect_reply_to_v5, _inspect_reply_to_v4),
    "inspect_request": (_inspect_request_to_v5, _inspect_request_to_v4),
    "kernel_info_reply": (_kernel_info_to_v5, _kernel_info_to_v4),
    "stream": (
        lambda content: _with_field(content, "data", "text"),
        lambda content: _with_field(content, "text", "data"),
    ),
}
_TO_V5: Final = {name: adapt for name, (adapt, _) in _ADAPTERS.items()}
_TO_V4: Final = {name: adapt for name, (_, adapt) in _ADAPTERS.items()}
