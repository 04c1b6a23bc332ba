"""The parts of the documentation that are made from the code, so that they say what it does.

On a page such a part stands between two comments, ``<!-- from the code: NAME -->`` and ``<!-- end -->``. To make all of
them anew: ``python tests/core/link/state_pages.py``.
"""

import ast
import inspect
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

from kernelwire.link import allowance, client, envelope, host, log, peer, pump, records, resume, server, throttle
from kernelwire.link.resume import HELLO_RULES, WELCOME_RULES, Outcome

if __package__:
    from .wire_examples import MESSAGES, RECORDS, MessageExample, RecordExample
else:  # run as a script
    from wire_examples import (  # type: ignore[import-not-found, no-redef]
        MESSAGES,
        RECORDS,
        MessageExample,
        RecordExample,
    )

REMAKE: Final = "to make it anew: python tests/core/link/state_pages.py"

DOCS: Final = Path(__file__).parents[3] / "docs"

HELLO_FACTS: Final = (
    "the identity is known",
    "the secret is its own, and the attempt newer",
    "the epoch is its session's",
    "its positions are possible",
)
WELCOME_FACTS: Final = (
    "the host resumes",
    "the client was welcomed before",
    "with the same epoch",
    "the host's positions are possible",
)
LIMITS: Final = (
    (records, "FRAME_LIMIT"),
    (envelope, "HEAD_LIMIT"),
    (envelope, "FRAMES_LIMIT"),
    (peer, "ANSWERS_LIMIT"),
)
CHOICES: Final = (
    (peer, "FIRST_FRAME"),
    (pump, "BATCH"),
    (resume, "WINDOW"),
    (throttle, "OWN"),
    (throttle, "SHARED"),
    (throttle, "SWIFT"),
    (resume, "KEPT_LIMIT"),
    (peer, "STATUS_AFTER"),
    (peer, "PART_STATUS_AFTER"),
    (server, "COMPANY"),
    (peer, "PING_AFTER"),
    (peer, "DEAD_AFTER"),
    (log, "LOG_LIMIT"),
    (log, "PINNED_LIMIT"),
    (allowance, "PATIENCE"),
    (host, "REPLIES_LIMIT"),
    (host, "MEMBERS_LIMIT"),
    (host, "RESUME_WINDOW"),
)


class Row(NamedTuple):
    """One row of the table of states in a module's docstring."""

    state: str
    comes: str
    follows: str


def state_rows(module: ModuleType) -> list[Row]:
    """The table of states in the module's docstring."""
    lines = inspect.cleandoc(module.__doc__ or "").splitlines()
    rules = [number for number, line in enumerate(lines) if re.fullmatch("=+( +=+)+", line)]
    starts = [match.start() for match in re.finditer("=+", lines[rules[0]])]
    ends = [*starts[1:], None]
    return [
        Row(*(line[start:end].strip() for start, end in zip(starts, ends, strict=True)))
        for line in lines[rules[1] + 1 : rules[2]]
    ]


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [tuple(heads), *(tuple(row) for row in rows)]
    cells.insert(1, ("---",) * len(cells[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def markdown(text: str) -> str:
    """Of a docstring."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", " ".join(text.split()))
    return text.removesuffix(".")


def states(module: ModuleType) -> str:
    rows = state_rows(module)
    names = [name for name in dict.fromkeys(row.state for row in rows) if name != "any"]
    picture = ["```mermaid", "stateDiagram-v2", f"    [*] --> {names[0]}"]
    for row in rows:
        target = re.match(r"\w+", row.follows)
        if target and target[0] in names:
            for state in names if row.state == "any" else [row.state]:
                if state != target[0]:
                    picture.append(f"    {state} --> {target[0]}: {row.comes.strip('`')}")
    return "\n".join([*picture, "```", "", table(("state", "what comes", "what follows"), map(of_row, rows))])


def of_row(row: Row) -> tuple[str, ...]:
    return tuple(map(markdown, row))


def rules(facts: tuple[str, ...], rows: Iterable[tuple[tuple[bool | None, ...], Outcome]]) -> str:
    words = {True: "yes", False: "no", None: "any"}
    return table(
        (*facts, "what follows"),
        ((*(words[want] for want in row), f"{outcome.name.lower()}: {outcome.value}") for row, outcome in rows),
    )


def attribute_docs(thing: Any) -> dict[str, str]:
    """The strings below the assignments in a module or class."""
    body = ast.parse(inspect.getsource(thing)).body
    if inspect.isclass(thing):
        assert isinstance(body[0], ast.ClassDef)
        body = body[0].body
    found = {}
    for statement, following in pairwise(body):
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        if isinstance(target, ast.Name) and isinstance(following, ast.Expr):
            found[target.id] = str(ast.literal_eval(following.value))
    return found


def value(number: Any) -> str:
    if isinstance(number, dict):
        return ", ".join(f"{lane.name}: {each:,}" for lane, each in number.items())
    return f"{number:,}" if isinstance(number, int) else f"{number:,g}"


def constants(names: Iterable[tuple[ModuleType, str]]) -> str:
    return table(
        ("name", "value", "meaning"),
        ((f"`{name}`", value(getattr(module, name)), markdown(attribute_docs(module)[name])) for module, name in names),
    )


def reasons() -> str:
    docs = attribute_docs(records.Reason)
    return table(
        ("reason", "name", "meaning"),
        ((str(int(each)), each.name, markdown(docs[each.name])) for each in records.Reason),
    )


def examples(each: Iterable[RecordExample | MessageExample]) -> str:
    return table(("example", "octets"), ((example.title, f"`{example.octets}`") for example in each))


def parts() -> dict[str, str]:
    """Every part, by its name."""
    return {
        "client states": states(client),
        "peer states": states(peer),
        "hello rules": rules(HELLO_FACTS, HELLO_RULES),
        "welcome rules": rules(WELCOME_FACTS, WELCOME_RULES),
        "record examples": examples(RECORDS),
        "message examples": examples(MESSAGES),
        "bye reasons": reasons(),
        "limits": constants(LIMITS),
        "choices": constants(CHOICES),
    }


PAGES: Final = (DOCS / "explanation" / "link-states.md", DOCS / "reference" / "link-wire-format.md")

_PART: Final = re.compile(r"<!-- from the code: ([\w ]+) -->\n(.*?)<!-- end -->", re.DOTALL)


def names_on(page: Path) -> list[str]:
    return [match[1] for match in _PART.finditer(page.read_text(encoding="utf-8"))]


def made_anew(page: Path) -> str:
    """The page as it must be."""
    made = parts()
    return _PART.sub(
        lambda match: f"<!-- from the code: {match[1]} -->\n\n{made[match[1]]}\n\n<!-- end -->",
        page.read_text(encoding="utf-8"),
    )


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(made_anew(path), encoding="utf-8")
