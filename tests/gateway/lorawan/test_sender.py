"""What is sent when, through whom, and what becomes of refusals."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from nest.lorawan import Count, DownlinkOutcome, Effect, SendDownlink, Settings, StoreSession
from nest.lorawan.dedup import Copy
from nest.lorawan.sender import JOIN_ACCEPT_SIZE, SEND_AHEAD_S, Sender
from nest.lorawan.sessions import QueuedDownlink, Session, Sessions
from nest.model import Device, Downlink, RadioFrame, SessionState

from .device import EndDevice

NEAR, FAR, THIRD = "aa" * 8, "bb" * 8, "cc" * 8
KEY = bytes(range(16))


class Desk:
    """A sender with one session, at a time of its own."""

    def __init__(self, *, settings: Settings | None = None, **state: int) -> None:
        self.settings = settings or Settings()
        self.sessions = Sessions(self.settings)
        self.sender = Sender(self.settings, self.sessions)
        self.now = 1000.0
        self.device = EndDevice()
        self.device.dev_addr, self.device.nwk_skey, self.device.app_skey = 0x260B1234, KEY, KEY[::-1]
        self.session = self.with_session(self.device, **({"rx2_dr": 3} | state))
        self.effects: list[Effect] = []

    def with_session(self, device: EndDevice, **state: int) -> Session:
        registered = Device(device.dev_eui, device.join_eui, device.app_key, f"spatz-{device.dev_eui[-1]}")
        session = SessionState(device.dev_eui, 1, device.dev_addr, device.nwk_skey, device.app_skey, active=True)
        for name, value in state.items():
            setattr(session, name, value)
        return self.sessions.add(registered, session)

    def copy(
        self, gateway: str = NEAR, snr: float | None = 9.0, sf: int = 7, *, ago: float = 0.2, context: object = None,
        tmst: int | None = -1, buffered: bool = False, freq_hz: int = 868_100_000,
    ) -> Copy:  # fmt: skip
        """A reception a while ago; each gateway's counter is the clock and something of its own."""
        at = self.now - ago
        if tmst == -1:
            tmst = (round(at * 1e6) + gateway.encode()[0] * 10_000_019) & 0xFFFFFFFF
        frame = RadioFrame(
            b"x", gateway, 1.8e9 + at, freq_hz, sf, 125_000, -90.0, snr, tmst, buffered=buffered, context=context
        )
        return Copy(frame, at)

    def answer(
        self, *copies: Copy, ack: bool = True, fopts: bytes = b"", must: bool = False, session: Session | None = None
    ) -> list[Effect]:
        effects = self.sender.answer(
            session or self.session, copies or (self.copy(),), acknowledge=ack, fopts=fopts, must_answer=must,
            now=self.now,
        )  # fmt: skip
        return self.take(effects)

    def take(self, effects: Iterable[Effect]) -> list[Effect]:
        new = list(effects)
        self.effects += new
        return new

    def refuse(self, error: str | None = "TOO_LATE", window: int | None = None) -> list[Effect]:
        return self.take(self.sender.result(self.sent[-1].id, error, self.now, window))

    def pass_until_next(self) -> list[Effect]:
        deadline = self.sender.next_deadline()
        assert deadline is not None
        self.now = deadline
        return self.take(self.sender.poll(self.now))

    def queue(self, payload: bytes = b"data", *, confirmed: bool = False, window: int | None = None) -> None:
        queue = self.sessions.queue(self.device.dev_eui)
        queue.append(QueuedDownlink(10, payload, confirmed, window, len(queue) + 1))

    @property
    def sent(self) -> list[Downlink]:
        return [effect.downlink for effect in self.effects if isinstance(effect, SendDownlink)]

    def left(self, gateway: str, band: str) -> float:
        return self.sender.airtime_left(self.now).get(gateway, {}).get(band, 1.0)

    @property
    def ways(self) -> list[tuple[str, int]]:
        return [(downlink.gateway, downlink.window) for downlink in self.sent]


def kinds(effects: Iterable[Effect]) -> list[str]:
    return [effect.kind for effect in effects if isinstance(effect, Count)]


def outcomes(effects: Iterable[Effect]) -> list[str]:
    return [effect.outcome for effect in effects if isinstance(effect, DownlinkOutcome)]


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
    if desk.sender.next_deadline() is not None:
        desk.pass_until_next()
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
    if not desk.sent:
        desk.pass_until_next()
    assert (desk.sent[0].window, desk.sent[0].sf, desk.sent[0].power_dbm) == expect


def test_a_town_that_is_to_be_quiet_is_quiet_in_both_windows() -> None:
    desk = Desk(settings=Settings(downlink_eirp_dbm=10.0))
    desk.answer()
    desk.now += 10
    desk.queue(window=2)
    desk.answer(ack=False)
    desk.pass_until_next()
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
        if desk.sender.next_deadline() is not None:
            desk.pass_until_next()
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
        if desk.sender.next_deadline() is not None:
            desk.pass_until_next()
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
    desk.pass_until_next()
    assert (desk.sent[0].window, desk.sent[0].sf, desk.sent[0].power_dbm) == (2, 9, 18.0)
    desk.now += 10
    desk.answer(desk.copy(snr=8.0))
    assert (desk.sent[1].window, desk.sent[1].power_dbm) == (1, 5.0)


# -- when


def test_a_downlink_is_given_to_the_gateway_shortly_before_it_starts() -> None:
    desk = Desk(rx1_delay_s=5)
    began = desk.now - 0.2
    assert [type(effect) for effect in desk.answer()] == [StoreSession]
    assert desk.sender.next_deadline() == pytest.approx(began + 5 - SEND_AHEAD_S)
    assert desk.sender.poll(desk.now + 3) == []
    (downlink,) = [effect.downlink for effect in desk.pass_until_next() if isinstance(effect, SendDownlink)]
    assert downlink.delay_s == 5
    assert desk.sender.next_deadline() is None


def test_a_device_that_was_removed_is_sent_nothing_and_costs_no_airtime() -> None:
    desk = Desk(rx1_delay_s=5)
    desk.answer()
    desk.sender.drop(desk.device.dev_eui)
    assert desk.sender.next_deadline() is None
    assert desk.sender.poll(desk.now + 10) == []
    assert all(left == 1.0 for bands in desk.sender.airtime_left().values() for left in bands.values())


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
    if desk.sender.next_deadline() is not None:
        desk.pass_until_next()
    assert desk.ways == [(NEAR, 1), expect]
    assert desk.sent[0].phy == desk.sent[1].phy
    assert desk.sent[0].id != desk.sent[1].id
    if expect != (NEAR, 1):
        assert desk.left(NEAR, "868.0-868.6") == 1.0  # given back


def test_when_every_way_was_refused_data_waits_for_the_next_uplink() -> None:
    desk = Desk()
    desk.queue(b"one", confirmed=True)
    desk.answer(desk.copy(NEAR), desk.copy(FAR, -3.0), ack=False)
    seen = 1
    while True:
        effects = desk.refuse("COLLISION_PACKET")
        if "downlink_failed" in kinds(effects):
            break
        while len(desk.sent) == seen:
            desk.pass_until_next()
        seen += 1
    assert desk.ways == [(NEAR, 1), (NEAR, 2), (FAR, 2)]
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
    desk.pass_until_next()
    powers = [desk.sent[-1].power_dbm]
    for _ in range(20):
        if "downlink_failed" in kinds(desk.refuse("TX_POWER")):
            break
        powers.append(desk.sent[-1].power_dbm)
    assert powers == [29.0, 16.0, 14.0, 12.0, 10.0, 8.0]
    desk.now += 60
    desk.answer()
    assert desk.sent[-1].power_dbm == 8.0


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
    desk.pass_until_next()
    while desk.sender.next_deadline() is not None:
        desk.pass_until_next()
    assert {downlink.gateway for downlink in desk.sent} == {NEAR, FAR}


@pytest.mark.parametrize(("sf", "least"), [(9, 0.1), (10, 0.5)])
def test_joins_leave_airtime_to_quicker_ones_and_to_those_who_have_joined(sf: int, least: float) -> None:
    desk = Desk()
    while join(desk, desk.copy(sf=sf)) is not None:
        desk.now += 20.0
        desk.take(desk.sender.poll(desk.now))
        if desk.left(NEAR, "869.4-869.65") < 1.0:
            break
    assert least - 0.02 < desk.left(NEAR, "868.0-868.6") < least + 0.02
    desk.now += 10
    before = len(desk.sent)
    desk.answer(desk.copy(sf=7))
    if desk.sender.next_deadline() is not None:
        desk.pass_until_next()
    assert len(desk.sent) == before + 1


# -- restarts


def test_a_restart_takes_the_airtime_along() -> None:
    desk = Desk()
    desk.answer()
    left = desk.sender.airtime_left()[NEAR]["868.0-868.6"]
    again = Desk()
    again.sender.restore_airtime(desk.sender.export_airtime(desk.now, 1.8e9), desk.now + 5, 1.8e9 + 5, unsaved_s=0)
    assert again.sender.airtime_left(desk.now + 5)[NEAR]["868.0-868.6"] == left
