"""Why a relay lets somebody not in: a short word for programs, and a line for people."""

from typing import Any, Final

VERSION: Final = "version"
"""It speaks another version of the relay's protocol."""
TOKEN: Final = "token"  # noqa: S105 - a word, no password
"""Its token is not one of the room's."""
CLOCK: Final = "clock"
"""Its token would be good at another time: the clocks differ. The relay tells its own."""
HOST_TOKEN: Final = "host-token"  # noqa: S105
"""It may not be a host here."""
CONFLICT: Final = "conflict"
"""The room has another host."""
FULL: Final = "full"
"""There is no place for it now."""
RATE: Final = "rate"
"""It, or others from there, come too often."""

LASTING: Final = frozenset({VERSION, TOKEN, HOST_TOKEN})
"""What no other attempt changes."""


class Refused(Exception):
    """A relay does not let somebody in.

    Attributes:
        code: one of the words above.
        text: why, for people. No token and no key stands in it.
        now: the relay's time in seconds since the epoch, where it told.
    """

    def __init__(self, code: str, text: str, now: float | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.now = now

    def to_data(self) -> dict[str, Any]:
        """What goes over the wire beside the text."""
        return {"code": self.code} if self.now is None else {"code": self.code, "now": self.now}

    @classmethod
    def from_answer(cls, answer: object) -> "Refused":
        """From what a relay said, which is not believed to be in any shape, nor fit for a terminal."""
        data = answer.get("data") if isinstance(answer, dict) else None
        code = data.get("code") if isinstance(data, dict) else None
        now = data.get("now") if isinstance(data, dict) else None
        text = answer.get("message") if isinstance(answer, dict) else None
        return cls(
            code if isinstance(code, str) else "",
            _plain(text) if isinstance(text, str) and text else "it did not say why",
            float(now) if isinstance(now, int | float) else None,
        )


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:200])
