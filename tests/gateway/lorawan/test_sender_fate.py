"""What becomes of a downlink: refusals, gateways that choose by themselves, joins, restarts."""

from __future__ import annotations

import pytest
from nest.lorawan import Effect
from nest.lorawan.dedup import Copy
from nest.lorawan.sender import JOIN_ACCEPT_SIZE, SEND_AHEAD_S

from .desk import FAR, NEAR, Desk, kinds, outcomes

# -- refusals


@pytest.mark.parametrize(
    ("error", "expect"),
    [
        ("TOO_LATE", (NEAR, 2)),
        ("TOO_EARLY", (NEAR, 2)),
        ("COLLISION_PACKET", (NEAR, 2)),
        ("COLLISION_BEACON", (NEAR, 2)),
        ("TX_FREQ", (NEAR, 2)),
        ("TX_POWER", (NEAR, 1)),
        ("GPS_UNLOCKED", (FAR, 1)),
        ("NO_DOWNLINK_PATH", (FAR, 1)),
        ("something new", (NEAR, 2)),
    ],
)
def test_after_a_refusal_the_next_way_is_tried_with_the_same_bytes(error: str, expect: tuple[str, int]) -> None:
    desk = Desk()
    desk.answer(desk.copy(NEAR), desk.copy(FAR, -3.0))
    assert desk.left(NEAR, "868.0-868.6") < 1.0
    desk.now += 0.05
    effects = desk.refuse(error)
    assert kinds(effects)[0] == "downlink_retried"
    assert desk.ways == [(NEAR, 1), expect]
    assert desk.sent[0].phy == desk.sent[1].phy
    assert desk.sent[0].id != desk.sent[1].id
    if expect != (NEAR, 1):
        assert desk.left(NEAR, "868.0-868.6") == 1.0  # given back


def test_when_every_way_was_refused_data_waits_for_the_next_uplink() -> None:
    desk = Desk()
    desk.queue(b"one", confirmed=True)
    desk.answer(desk.copy(NEAR), desk.copy(FAR, -3.0), ack=False)
    while True:
        effects = desk.refuse("COLLISION_PACKET")
        if "downlink_failed" in kinds(effects):
            break
    assert desk.ways == [(NEAR, 1), (NEAR, 2), (FAR, 1), (FAR, 2)]
    assert outcomes(desk.effects) == ["sent", "queued"]
    assert desk.session.awaiting_ack is None
    assert all(left == 1.0 for bands in desk.sender.airtime_left().values() for left in bands.values())
    desk.now += 60
    desk.answer(ack=False)
    got = desk.device.downlink(desk.sent[-1].phy)
    assert (got.payload, got.fcnt) == (b"one", 1)  # a new frame has a new number


def test_a_refusal_that_comes_too_late_finds_no_way() -> None:
    desk = Desk()
    desk.answer()
    desk.now += 1.85  # RX2 is in 50 ms
    assert kinds(desk.refuse()) == ["downlink_failed"]
    assert desk.refuse() == []  # said twice


def test_a_gateway_that_cannot_be_loud_is_asked_for_less_from_then_on() -> None:
    desk = Desk()
    desk.queue(window=2)
    desk.answer(ack=False)
    powers = [desk.sent[-1].power_dbm]
    for _ in range(20):
        if "downlink_failed" in kinds(desk.refuse("TX_POWER")):
            break
        powers.append(desk.sent[-1].power_dbm)
    assert powers == [29.0, 16.0, 14.0, 12.0, 10.0, 8.0]
    desk.now += 60
    desk.answer()
    assert desk.sent[-1].power_dbm == 8.0


def test_what_a_gateway_cannot_do_counts_when_the_window_is_chosen() -> None:
    desk = Desk()
    far = desk.copy(sf=10, snr=-12.0)
    desk.answer(far)
    assert desk.ways[-1] == (NEAR, 2)  # SF9 at 500 mW
    desk.refuse("TX_POWER")
    assert desk.ways[-1] == (NEAR, 1)  # SF9 at 25 mW would not be understood so far away
    desk.now += 10
    desk.answer(desk.copy(sf=10, snr=-12.0))
    assert (desk.ways[-1], desk.sent[-1].power_dbm) == ((NEAR, 1), 16.0)


def test_a_fallback_is_no_louder_than_the_gateway_can_be() -> None:
    desk = Desk()
    desk.queue(window=2)
    desk.answer(ack=False)
    desk.refuse("TX_POWER")
    desk.now += 10
    desk.answer(desk.copy(context="some"))
    assert desk.sent[-1].fallback == (869_525_000, 9, 125_000, 16.0)


def test_a_held_downlink_whose_moment_has_passed_is_not_given_any_more() -> None:
    """The nest was stopped for a while. Some gateways would wait for their counter to come round: 71 minutes."""
    desk = Desk(rx1_delay_s=5)
    desk.leave_unanswered()
    desk.queue()
    desk.answer()
    desk.now += 8
    assert kinds(desk.take(desk.sender.poll(desk.now))) == ["downlink_failed"]
    assert not desk.sent
    assert outcomes(desk.effects) == ["queued"]


def test_whether_a_downlink_is_still_in_time() -> None:
    desk = Desk()
    desk.answer()
    number = desk.sent[0].id
    assert desk.sender.is_in_time(number, desk.now + 0.7)
    assert not desk.sender.is_in_time(number, desk.now + 0.78)  # 20 ms before the start
    desk.refuse(None)
    assert not desk.sender.is_in_time(number, desk.now)


# -- gateways that choose the window by themselves


@pytest.mark.parametrize(("window", "left"), [(1, (False, True)), (2, (True, False)), (None, (False, True))])
def test_rx2_as_a_fallback_is_booked_until_the_gateway_has_chosen(window: int | None, left: tuple[bool, bool]) -> None:
    desk = Desk()
    desk.answer(desk.copy(context={"xtime": 1}))
    (downlink,) = desk.sent
    assert downlink.context == {"xtime": 1}
    assert downlink.fallback == (869_525_000, 9, 125_000, 29.0)
    bands = desk.sender.airtime_left()[NEAR]
    assert (bands["868.0-868.6"] < 1, bands["869.4-869.65"] < 1) == (True, True)
    desk.refuse(None, window)
    bands = desk.sender.airtime_left()[NEAR]
    assert (bands["868.0-868.6"] == 1, bands["869.4-869.65"] == 1) == left


def test_of_a_gateway_that_says_nothing_the_longer_window_counts() -> None:
    desk = Desk()
    desk.answer(desk.copy(context="some"))
    desk.now += 30
    desk.sender.poll(desk.now)
    bands = desk.sender.airtime_left()[NEAR]
    assert (bands["868.0-868.6"] == 1, bands["869.4-869.65"] < 1) == (True, True)
    assert desk.refuse("TOO_LATE") == []  # nobody waits for it any more


def test_others_are_given_no_fallback() -> None:
    desk = Desk()
    desk.answer()
    assert desk.sent[0].fallback is None


# -- joins


def join(desk: Desk, *copies: Copy) -> list[Effect] | None:
    way = desk.sender.join_way(copies or (desk.copy(),), desk.now)
    return None if way is None else desk.take(desk.sender.send_join_accept(way, bytes(8), bytes(33), desk.now))


def test_a_join_accept_follows_after_five_seconds() -> None:
    desk = Desk()
    desk.leave_unanswered()
    began = desk.now - 0.2
    assert join(desk) == []
    desk.pass_until_next()
    (downlink,) = desk.sent
    assert len(downlink.phy) == JOIN_ACCEPT_SIZE
    assert (downlink.window, downlink.delay_s, downlink.sf) == (1, 5, 7)
    assert desk.now == pytest.approx(began + 5 - SEND_AHEAD_S)


def test_a_request_that_cannot_be_answered_is_left_for_the_next_try() -> None:
    desk = Desk()
    assert join(desk, desk.copy(tmst=None)) is None
    assert join(desk, desk.copy(buffered=True)) is None
    assert desk.sender.join_way((), desk.now) is None


def test_in_quiet_times_a_slow_node_is_answered_too() -> None:
    desk = Desk()
    for _ in range(5):
        assert join(desk, desk.copy(sf=12, snr=-18.0)) is not None
        desk.now += 60
    assert len(desk.sender.airtime_left()) == 1


def test_in_a_storm_quick_answers_go_out_and_slow_ones_wait() -> None:
    desk = Desk()
    answered = {7: 0, 12: 0}
    for number in range(60):
        sf = 12 if number % 3 == 0 else 7
        answered[sf] += join(desk, desk.copy(sf=sf)) is not None
        desk.now += 0.25
    assert answered[7] >= 30  # of 40
    assert answered[12] <= 3
    desk.now += 30
    assert join(desk, desk.copy(sf=12)) is not None


def test_two_joins_at_once_do_not_meet_in_the_air() -> None:
    desk = Desk()
    assert join(desk, desk.copy()) is not None
    assert join(desk, desk.copy(FAR), desk.copy(NEAR)) is not None
    assert {downlink.gateway for downlink in desk.sent} == {NEAR, FAR}


@pytest.mark.parametrize(("sf", "least"), [(9, 0.1), (10, 0.5)])
def test_joins_leave_airtime_to_quicker_ones_and_to_those_who_have_joined(sf: int, least: float) -> None:
    desk = Desk()
    while join(desk, desk.copy(sf=sf)) is not None:
        desk.refuse(None)
        desk.now += 20.0
        if desk.left(NEAR, "869.4-869.65") < 1.0:
            break
    assert least - 0.02 < desk.left(NEAR, "868.0-868.6") < least + 0.02
    desk.now += 10
    before = len(desk.sent)
    desk.answer(desk.copy(sf=7))
    assert len(desk.sent) == before + 1


# -- restarts


def test_after_a_crash_an_answer_that_nobody_has_noted_may_still_be_to_come() -> None:
    """What the gateway was given last, a JoinAccept for RX2, begins six seconds later and lasts 1.8 s."""
    desk = Desk()
    saved = desk.sender.export_airtime(desk.now, 1.8e9)
    desk.now += 1.9
    join(desk, desk.copy(sf=12, snr=-15.0))
    end = desk.now - 0.2 + 6 + 1.8
    again = Desk()
    again.sender.restore_airtime(saved, 1010.0, 1.8e9 + 10, unsaved_s=2.0)

    again.answer(again.copy())
    used_s = (1 - again.left(NEAR, "868.0-868.6")) * 36
    assert used_s >= end - 1000.0


def test_a_restart_takes_the_airtime_along() -> None:
    desk = Desk()
    desk.answer()
    left = desk.sender.airtime_left()[NEAR]["868.0-868.6"]
    again = Desk()
    again.sender.restore_airtime(desk.sender.export_airtime(desk.now, 1.8e9), desk.now + 5, 1.8e9 + 5, unsaved_s=0)
    assert again.sender.airtime_left(desk.now + 5)[NEAR]["868.0-868.6"] == left
