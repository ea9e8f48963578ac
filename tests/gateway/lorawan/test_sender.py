"""What is sent, through whom, where and when."""

from __future__ import annotations

import pytest
from nest.lorawan import Count, SendDownlink, Settings, StoreSession
from nest.lorawan.sender import SEND_AHEAD_S

from .desk import FAR, NEAR, THIRD, Desk, kinds, outcomes

# -- what is in it


def test_the_counter_is_stored_before_the_frame_exists_outside() -> None:
    desk = Desk()
    store, _, send = desk.answer()
    assert isinstance(store, StoreSession)
    assert isinstance(send, SendDownlink)
    assert desk.session.state.fcnt_down == 1
    got = desk.device.downlink(send.downlink.phy)
    assert (got.fcnt, got.ack, got.fport, got.f_pending) == (0, True, None, False)


def test_without_anything_to_say_nothing_is_said() -> None:
    desk = Desk()
    assert desk.answer(ack=False, fopts=b"\x06") == []
    assert desk.session.state.fcnt_down == 0


def test_data_commands_and_acknowledgement_share_a_frame() -> None:
    desk = Desk()
    desk.queue(b"one", confirmed=True)
    desk.queue(b"two")
    desk.answer(ack=True, fopts=b"\x03\x50\xff\x00\x01")
    phy = desk.sent[0].phy
    got = desk.device.downlink(phy)
    assert (got.ack, got.confirmed, got.f_pending, got.fport, got.payload) == (True, True, True, 10, b"one")
    assert phy[8:13] == b"\x03\x50\xff\x00\x01"
    assert desk.session.awaiting_ack is not None


@pytest.mark.parametrize(
    ("fopts", "must", "payload", "sent_fopts", "sent_payload", "waiting"),
    [
        (b"\x06" * 15, True, 51 - 15, 15, 51 - 15, 0),  # SF12: 51 bytes for both
        (b"\x06" * 15, True, 51 - 14, 15, None, 1),  # MAC commands go first
        (b"\x06" * 15, False, 51 - 14, 0, 51 - 14, 0),  # those that only go along give way
        (b"", False, 51, 0, 51, 0),
        (b"", False, 52, None, None, 0),  # never fits
    ],
)
def test_what_fits(
    fopts: bytes, must: bool, payload: int, sent_fopts: int | None, sent_payload: int | None, waiting: int
) -> None:
    desk = Desk(rx2_dr=0)
    desk.queue(bytes(payload))
    desk.answer(desk.copy(sf=12), ack=False, fopts=fopts, must=must)
    assert desk.sessions.queued(desk.device.dev_eui) == waiting
    if sent_fopts is None:
        assert not desk.sent
        assert outcomes(desk.effects) == ["too_long"]
        return
    phy = desk.sent[0].phy
    got = desk.device.downlink(phy)
    assert phy[5] & 0x0F == sent_fopts
    assert (got.payload if got.fport is not None else None) == (None if sent_payload is None else bytes(sent_payload))
    assert got.f_pending == bool(waiting)


# -- through whom, where, how loud


@pytest.mark.parametrize(
    ("sf", "rx2_dr", "window", "expect"),
    [
        (7, 3, None, (1, 7, 16.0)),  # 46 ms against 145 ms
        (9, 3, None, (1, 9, 16.0)),
        (10, 3, None, (2, 9, 29.0)),  # SF9 at 500 mW is quicker than SF10 at 25 mW
        (12, 3, None, (2, 9, 29.0)),
        (12, 0, None, (1, 12, 16.0)),  # as long: rather the earlier one
        (11, 0, None, (1, 11, 16.0)),
        (12, 3, 1, (1, 12, 16.0)),  # as was wished
        (7, 0, 2, (2, 12, 29.0)),
    ],
)
def test_the_window_is_chosen_by_airtime(
    sf: int, rx2_dr: int, window: int | None, expect: tuple[int, int, float]
) -> None:
    desk = Desk(rx2_dr=rx2_dr)
    desk.queue(window=window)
    desk.answer(desk.copy(sf=sf, snr=3.0), ack=False)
    assert (desk.sent[0].window, desk.sent[0].sf, desk.sent[0].power_dbm) == expect


def test_a_town_that_is_to_be_quiet_is_quiet_in_both_windows() -> None:
    desk = Desk(settings=Settings(downlink_eirp_dbm=10.0))
    desk.answer()
    desk.refuse(None)
    desk.now += 10
    desk.queue(window=2)
    desk.answer(ack=False)
    assert [downlink.power_dbm for downlink in desk.sent] == [10.0, 23.0]
    loud = Desk(settings=Settings(downlink_eirp_dbm=30.0))
    loud.answer()
    assert loud.sent[0].power_dbm == 16.15  # the law's


def test_the_strongest_copy_s_gateway_answers_on_its_channel() -> None:
    desk = Desk()
    desk.answer(desk.copy(FAR, 9.0, freq_hz=867_900_000), desk.copy(NEAR, 2.0))
    (downlink,) = desk.sent
    assert (downlink.gateway, downlink.freq_hz, downlink.delay_s) == (FAR, 867_900_000, 1)
    assert downlink.tmst == ((desk.copy(FAR).frame.tmst or 0) + 1_000_000) & 0xFFFFFFFF


@pytest.mark.parametrize(("weaker_db", "expect"), [(2.0, FAR), (12.0, NEAR)])
def test_of_gateways_as_strong_the_one_that_has_sent_less_answers(weaker_db: float, expect: str) -> None:
    desk = Desk()
    for _ in range(10):
        desk.answer(desk.copy(NEAR))
        desk.now += 2
    desk.answer(desk.copy(NEAR, 9.0), desk.copy(FAR, 9.0 - weaker_db))
    assert desk.sent[-1].gateway == expect


def test_a_gateway_that_sends_already_gives_way_to_the_next() -> None:
    desk = Desk(rx2_dr=0)
    for _ in range(3):
        desk.answer(desk.copy(NEAR), desk.copy(FAR, -2.0), desk.copy(THIRD, -3.0))
    assert desk.ways == [(NEAR, 1), (FAR, 1), (THIRD, 1)]


def test_slow_answers_move_to_the_sub_band_with_more_time() -> None:
    desk = Desk(rx2_dr=0)
    for _ in range(8):
        desk.answer(desk.copy(sf=12))
        desk.refuse(None)
        desk.now += 10
    assert desk.ways[0] == (NEAR, 1)
    assert desk.ways[-1] == (NEAR, 2)
    assert desk.left(NEAR, "868.0-868.6") > 0.8


def test_without_lawful_airtime_an_acknowledgement_is_dropped_and_data_waits() -> None:
    desk = Desk(rx2_dr=0)
    sent = 0
    while True:  # both sub-bands' hours are used up
        effects = desk.answer(desk.copy(sf=12), ack=True)
        if kinds(effects) == ["downlink_no_room"]:
            break
        sent += 1
        desk.now += 3.5
    assert 380 < sent <= (36 + 360) / 0.991  # seconds of an empty frame at SF12
    fcnt_down = desk.session.state.fcnt_down
    desk.queue()
    assert kinds(desk.answer(desk.copy(sf=12), ack=False)) == ["downlink_no_room"]
    assert desk.sessions.queued(desk.device.dev_eui) == 1
    assert desk.session.state.fcnt_down == fcnt_down  # no number was used up
    assert all(left < 0.05 for left in desk.sender.airtime_left()[NEAR].values())
    assert desk.answer(desk.copy(FAR, sf=12), ack=False)[0] != Count("downlink_no_room")  # another gateway may


@pytest.mark.parametrize("unable", [{"tmst": None}, {"buffered": True}, {"ago": 2.95}])
def test_a_copy_that_cannot_be_answered(unable: dict) -> None:
    desk = Desk()
    assert kinds(desk.answer(desk.copy(**unable))) == ["downlink_failed"]
    assert desk.session.state.fcnt_down == 0
    desk.answer(desk.copy(**unable), desk.copy(FAR, 2.0))
    assert desk.ways == [(FAR, 1)]


def test_a_node_that_would_not_hear_it_is_answered_where_it_will() -> None:
    desk = Desk(settings=Settings(downlink_eirp_dbm=5.0))
    desk.answer(desk.copy(snr=-6.0))  # 11 dB less than the node's own power is below the floor of SF7
    assert (desk.sent[0].window, desk.sent[0].sf, desk.sent[0].power_dbm) == (2, 9, 18.0)
    desk.now += 10
    desk.answer(desk.copy(snr=8.0))
    assert (desk.sent[1].window, desk.sent[1].power_dbm) == (1, 5.0)


# -- when


def test_a_downlink_is_given_to_the_gateway_at_once() -> None:
    desk = Desk(rx1_delay_s=5)
    assert isinstance(desk.answer()[-1], SendDownlink)
    assert desk.sent[0].delay_s == 5
    desk.refuse(None)
    desk.now += 60
    assert isinstance(desk.answer()[-1], SendDownlink)
    assert desk.sender.next_deadline() is None


@pytest.mark.parametrize("error", [None, "TOO_EARLY"])
def test_a_gateway_that_has_not_answered_is_given_downlinks_at_the_last_moment_until_it_answers(
    error: str | None,
) -> None:
    desk = Desk(rx1_delay_s=5)
    desk.leave_unanswered(NEAR)
    assert [type(effect) for effect in desk.answer(desk.copy(NEAR))] == [StoreSession]
    assert isinstance(desk.answer(desk.copy(FAR))[-1], SendDownlink)  # the others as ever
    desk.pass_until_next()
    desk.refuse(error)
    desk.now += 2
    assert isinstance(desk.answer(desk.copy(NEAR))[-1], SendDownlink)


def test_that_there_is_no_way_to_a_gateway_is_no_answer_of_it() -> None:
    desk = Desk(rx1_delay_s=5)
    desk.leave_unanswered()
    desk.answer()
    desk.pass_until_next()
    desk.refuse("NO_DOWNLINK_PATH")
    desk.now += 60
    assert [type(effect) for effect in desk.answer()] == [StoreSession]


def test_an_answer_may_come_until_five_seconds_after_the_start() -> None:
    desk = Desk(rx1_delay_s=5)
    desk.answer()
    desk.now += 9.7
    desk.sender.poll(desk.now)
    desk.refuse(None)  # a station says so when it has sent
    desk.now += 60
    assert isinstance(desk.answer()[-1], SendDownlink)


def test_a_silent_gateway_is_given_a_downlink_shortly_before_it_starts() -> None:
    desk = Desk(rx1_delay_s=5)
    desk.leave_unanswered()
    began = desk.now - 0.2
    assert [type(effect) for effect in desk.answer()] == [StoreSession]
    assert desk.sender.next_deadline() == pytest.approx(began + 5 - SEND_AHEAD_S)
    assert desk.sender.poll(desk.now + 3) == []
    (downlink,) = [effect.downlink for effect in desk.pass_until_next() if isinstance(effect, SendDownlink)]
    assert downlink.delay_s == 5
    assert desk.sender.next_deadline() is None


def test_a_device_that_was_removed_is_sent_nothing_and_costs_no_airtime() -> None:
    desk = Desk(rx1_delay_s=5)
    desk.leave_unanswered()
    before = desk.sender.airtime_left()
    desk.answer()
    assert desk.sender.airtime_left() != before
    desk.sender.drop(desk.device.dev_eui)
    assert desk.sender.next_deadline() is None
    assert desk.sender.poll(desk.now + 10) == []
    assert desk.sender.airtime_left() == before
