"""What a relay says when it lets nobody in, and what is believed of it."""

import pytest

from kernelwire_socketio import refusals
from kernelwire_socketio.refusals import Refused


@pytest.mark.parametrize("now", [None, 12.5])
def test_it_arrives_as_it_was_said(now: float | None) -> None:
    said = Refused(refusals.CLOCK, "too early", now)
    heard = Refused.from_answer({"message": said.text, "data": said.to_data()})
    assert (heard.code, heard.text, heard.now) == (said.code, said.text, said.now)


@pytest.mark.parametrize(
    "answer", [None, "no", {}, {"message": 7, "data": []}, {"data": {"code": 1, "now": "x"}}, {"message": ""}]
)
def test_any_answer_is_one(answer: object) -> None:
    heard = Refused.from_answer(answer)
    assert (heard.code, heard.text, heard.now) == ("", "it did not say why", None)


def test_nothing_of_it_harms_a_terminal() -> None:
    heard = Refused.from_answer({"message": "\x1b[31m" + "x" * 1000 + "\n"})
    assert heard.text == "?[31m" + "x" * 195


def test_only_some_are_final() -> None:
    assert {refusals.VERSION, refusals.TOKEN, refusals.HOST_TOKEN} == refusals.LASTING
