"""Links that lose, repeat or miscount at a break, and the behaviours that kill them."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from kernelwire.errors import ConnectionLost, LinkViolation
from kernelwire.link import log
from kernelwire.link.dialer import Dialer
from kernelwire.link.glance import Glance
from kernelwire.link.host import HostLink
from kernelwire.link.peer import Timing
from kernelwire.link.records import Position, Status
from kernelwire.link.resume import WELCOME_RULES, InLane, Outcome, OutLane
from kernelwire.testing import Hanging
from kernelwire.testing.through import Through

from ._mutants import BrokenLink, assert_killed, assert_works_otherwise

# What was under way


def take_any_number(patch: pytest.MonkeyPatch) -> None:
    """A receiver that takes what comes for what is due."""
    on_data = InLane.on_data
    patch.setattr(InLane, "on_data", lambda lane, data: on_data(lane, structs.replace(data, seq=lane._received + 1)))


def skip_one(patch: pytest.MonkeyPatch) -> None:
    go_on = OutLane.resume

    def spoilt(lane: OutLane, position: Position) -> None:
        was_begun = position.received + 1 < lane._first + lane._at
        go_on(lane, Position(position.received + 1, 0) if was_begun else position)

    take_any_number(patch)
    patch.setattr(OutLane, "resume", spoilt)


def repeat_one(patch: pytest.MonkeyPatch) -> None:
    go_on = OutLane.resume

    def spoilt(lane: OutLane, position: Position) -> None:
        is_kept = not position.offset and lane._first <= position.received
        go_on(lane, Position(position.received - 1, 0) if is_kept else position)

    take_any_number(patch)
    patch.setattr(OutLane, "resume", spoilt)


def keep_nothing(patch: pytest.MonkeyPatch) -> None:
    """What was sent counts as handled."""

    def next_chunk(lane: OutLane, limit: int) -> Any:
        chunk = take(lane, limit)
        if chunk is not None and chunk.final:
            lane._forget(chunk.seq)
        return chunk

    def on_status(lane: OutLane, status: Status, _now: float) -> None:
        lane._window = lane._window or status.granted
        lane._granted = status.granted

    take = OutLane.next_chunk
    take_any_number(patch)
    patch.setattr(OutLane, "next_chunk", next_chunk)
    patch.setattr(OutLane, "on_status", on_status)
    patch.setattr(OutLane, "can_resume", lambda _lane, _position: True)
    patch.setattr(OutLane, "resume", lambda lane, _position: lane.pause())


@pytest.mark.parametrize("spoil", [skip_one, repeat_one, keep_nothing])
def test_what_was_under_way(spoil: Callable[[pytest.MonkeyPatch], None]) -> None:
    assert_works_otherwise(BrokenLink(spoil))
    assert_killed(BrokenLink(spoil), "a_hundred_cuts_cost_nothing", watchdog=2)


def test_a_message_of_which_a_part_has_come() -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        go_on = OutLane.resume
        patch.setattr(OutLane, "resume", lambda lane, position: go_on(lane, Position(position.received, 0)))

    assert_killed(BrokenLink(spoil), "a_cut_anywhere_costs_nothing", watchdog=10)


# Going on


@pytest.mark.parametrize(
    "name", ["a_hundred_cuts_cost_nothing", "silence_is_noticed", "an_intermediary_may_go_and_come"]
)
def test_a_break_that_ends_everything(name: str) -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Dialer, "_note", lambda dialer, *_: dialer._fail(ConnectionLost("cut")))

    assert_killed(BrokenLink(spoil), name, ConnectionLost)


def test_a_client_that_gives_up() -> None:
    def note(dialer: Dialer, _why: object, attempt: int) -> None:
        if attempt > 2:
            dialer._fail(ConnectionLost("nobody is there"))

    broken = BrokenLink(lambda patch: patch.setattr(Dialer, "_note", note))
    assert_killed(broken, "an_intermediary_may_go_and_come", ConnectionLost)


def test_silence_that_nobody_notices() -> None:
    broken = BrokenLink(lambda patch: patch.setattr(Through, "timing", Timing(ping_after=0.1, dead_after=1000)))
    assert_killed(broken, "silence_is_noticed", Hanging, watchdog=1.5)


# Gaps


@pytest.mark.parametrize("wrong", [-1, 1])
@pytest.mark.parametrize("what", ["count", "size"])
def test_a_gap_that_is_miscounted(what: str, wrong: int) -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        def spoilt(channel: Any, count: int, size: int, reason: str) -> Any:
            return pack(channel, count + wrong * (what == "count"), size + wrong * (what == "size"), reason)

        pack = vars(log)["pack_gap"]
        patch.setattr(log, "pack_gap", spoilt)

    assert_killed(BrokenLink(spoil), "what_did_not_fit_is_counted")


def test_a_gap_that_nobody_is_told_of() -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        def spoilt(feed: log.Feed) -> Any:
            feed.cursor = max(feed.cursor, feed._log.oldest)
            return pull(feed)

        pull = log.Feed.pull
        patch.setattr(log.Feed, "pull", spoilt)

    assert_killed(BrokenLink(spoil), "what_did_not_fit_is_counted")


def test_the_end_of_a_request_goes_with_the_rest() -> None:
    broken = BrokenLink(lambda patch: patch.setattr(log, "look", lambda _: Glance(is_pinned=False, can_wait=False)))
    assert_killed(broken, "what_did_not_fit_is_counted")


# Restarts


def test_a_restart_that_nobody_is_told_of() -> None:
    rules = (*WELCOME_RULES[:2], ((False, None, None, None), Outcome.BEGIN))
    broken = BrokenLink(lambda patch: patch.setattr("kernelwire.link.client.WELCOME_RULES", rules))
    assert_killed(broken, "a_kernel_end_may_start_anew", Hanging, watchdog=1.5)


def test_what_was_under_way_is_sent_to_the_next_host() -> None:
    def begin(lane: OutLane) -> None:
        lane._first, lane._reached = 1, (1, 0)
        lane.resume(Position(0, 0))

    broken = BrokenLink(lambda patch: patch.setattr(OutLane, "begin", begin))
    assert_killed(broken, "a_kernel_end_may_start_anew")


def test_a_host_that_does_not_answer_another_one_s_client() -> None:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        def spoilt(host: HostLink, plaintext: bytes, now: float) -> Any:
            admission = greet(host, plaintext, now)
            if admission.is_new and admission.member is not None and admission.member.attempt > 1:
                raise LinkViolation("a client of somebody else")
            return admission

        greet = HostLink.greet
        patch.setattr(HostLink, "greet", spoilt)

    assert_killed(BrokenLink(spoil), "a_kernel_end_may_start_anew", Hanging, watchdog=1.5)
