"""Links that lose, repeat or miscount at a break, and the behaviours that kill them."""

from typing import Any

import pytest

from kernelwire.errors import ConnectionLost, GapNotice, LinkViolation
from kernelwire.link import client, log, resume
from kernelwire.link.dialer import Dialer
from kernelwire.link.host import HostLink
from kernelwire.link.peer import Timing
from kernelwire.link.records import Position
from kernelwire.testing import Hanging
from kernelwire.testing.through import Through

from ._mutants import BrokenLink, assert_killed


def _take_any_number(patch: pytest.MonkeyPatch) -> None:
    """A receiver that takes what comes for what is due."""
    on_data = resume.InLane.on_data
    patch.setattr(resume.InLane, "on_data", lambda lane, data: on_data(lane, data._replace(seq=lane._received + 1)))


def skip_one_on_resume(patch: pytest.MonkeyPatch) -> None:
    _take_any_number(patch)
    go_on = resume.OutLane.resume

    def spoilt(lane: resume.OutLane, position: Position) -> None:
        further = bool(lane._items) and position.received + 1 < lane._first + lane._at
        go_on(lane, Position(position.received + further, 0 if further else position.offset))

    patch.setattr(resume.OutLane, "resume", spoilt)


def repeat_one_on_resume(patch: pytest.MonkeyPatch) -> None:
    _take_any_number(patch)
    go_on = resume.OutLane.resume

    def spoilt(lane: resume.OutLane, position: Position) -> None:
        again = position.offset == 0 and lane._first <= position.received
        if not again:
            go_on(lane, position)
            return
        go_on(lane, Position(position.received - 1, 0))

    patch.setattr(resume.OutLane, "resume", spoilt)


def forget_how_far_a_message_was(patch: pytest.MonkeyPatch) -> None:
    go_on = resume.OutLane.resume
    patch.setattr(resume.OutLane, "resume", lambda lane, position: go_on(lane, Position(position.received, 0)))


def forget_what_was_sent(patch: pytest.MonkeyPatch) -> None:
    _take_any_number(patch)
    on_status = resume.OutLane.next_chunk

    def spoilt(lane: resume.OutLane, limit: int) -> Any:
        chunk = on_status(lane, limit)
        if chunk is not None and chunk.final:
            lane._forget(chunk.seq)  # as if it had been handled
        return chunk

    patch.setattr(resume.OutLane, "next_chunk", spoilt)
    patch.setattr(resume.OutLane, "can_resume", lambda *_: True)
    patch.setattr(resume.OutLane, "on_status", lambda lane, status: setattr(lane, "_granted", status.granted))
    patch.setattr(
        resume.OutLane, "resume", lambda lane, position: (setattr(lane, "_sent", 0), setattr(lane, "_granted", 0))
    )


@pytest.mark.parametrize("spoil", [skip_one_on_resume, repeat_one_on_resume, forget_what_was_sent])
@pytest.mark.parametrize("name", ["a_cut_anywhere_costs_nothing", "a_hundred_cuts_cost_nothing"])
def test_what_was_under_way(spoil: Any, name: str) -> None:
    assert_killed(BrokenLink(spoil), name)


def test_a_message_in_pieces() -> None:
    assert_killed(BrokenLink(forget_how_far_a_message_was), "a_cut_anywhere_costs_nothing")


def test_a_break_that_ends_everything() -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Dialer, "_note", lambda dialer, *_: dialer._fail(ConnectionLost("cut")))

    for name in ("a_hundred_cuts_cost_nothing", "silence_is_noticed", "an_intermediary_may_go_and_come"):
        assert_killed(BrokenLink(spoil), name, ConnectionLost)


def test_silence_that_nobody_notices() -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Through, "timing", Timing(ping_after=0.3, dead_after=1000))

    assert_killed(BrokenLink(spoil), "silence_is_noticed", Hanging, watchdog=3)


def test_a_client_that_gives_up() -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        def note(dialer: Dialer, why: object, attempt: int) -> None:
            if attempt > 2:
                dialer._fail(ConnectionLost("nobody is there"))

        patch.setattr(Dialer, "_note", note)

    assert_killed(BrokenLink(spoil), "an_intermediary_may_go_and_come", ConnectionLost)


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_gap_that_is_miscounted(wrong: int) -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        pack = log.pack_gap
        patch.setattr(log, "pack_gap", lambda channel, count, *rest: pack(channel, count + wrong, *rest))

    assert_killed(BrokenLink(spoil), "what_did_not_fit_is_counted")


def test_a_gap_that_nobody_is_told_of() -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        def pull(feed: log.Feed) -> Any:
            feed.cursor = max(feed.cursor, feed._log.oldest)
            return pull_next(feed)

        pull_next = log.Feed.pull
        patch.setattr(log.Feed, "pull", pull)

    assert_killed(BrokenLink(spoil), "what_did_not_fit_is_counted")


def test_the_end_of_a_request_goes_with_the_rest() -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(log, "_is_pinned", lambda _: False)

    assert_killed(BrokenLink(spoil), "what_did_not_fit_is_counted", GapNotice)


def test_a_restart_that_nobody_is_told_of() -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        rules = (*client.WELCOME_RULES[:2], ((False, None, None, None), client.Outcome.BEGIN))
        patch.setattr(client, "WELCOME_RULES", rules)

    assert_killed(BrokenLink(spoil), "a_kernel_end_may_start_anew", Hanging, watchdog=2)


def test_what_was_under_way_is_sent_to_the_next_one() -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        def begin(lane: resume.OutLane) -> None:
            lane._first, lane._reached = 1, (1, 0)
            lane.resume(Position(0, 0))

        patch.setattr(resume.OutLane, "begin", begin)

    assert_killed(BrokenLink(spoil), "a_kernel_end_may_start_anew")


def test_a_host_that_refuses_whom_it_does_not_know() -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        greet = HostLink.greet

        def spoilt(host: HostLink, plaintext: bytes, now: float) -> Any:
            admission = greet(host, plaintext, now)
            if admission.is_new and admission.member is not None and admission.member.attempt > 1:
                raise LinkViolation("a client of somebody else")
            return admission

        patch.setattr(HostLink, "greet", spoilt)

    assert_killed(BrokenLink(spoil), "a_kernel_end_may_start_anew", Hanging, watchdog=2)
