"""What the network says to a node, with the firmware's own command handler as the node."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nest.lorawan import mac_commands as mac
from nest.lorawan.control import MAX_REQUESTS_PER_DAY, Control, Reply
from nest.lorawan.effects import KINDS
from nest.lorawan.settings import Settings
from nest.model import SessionState

ROOT = Path(__file__).resolve().parents[3]
for _folder in (ROOT / "firmware", ROOT / "tests/firmware/cpython"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from lorawan import commands as firmware  # noqa: E402
from lorawan import eu868  # noqa: E402
from lorawan.session import Session  # noqa: E402

T0 = 1_800_000_000.0
DAY_S = 86_400.0
SETTINGS = Settings(status_interval_s=0)
TAKEN = bytes.fromhex("0307")


def state_of(**given: int | float) -> SessionState:
    values = {"rx2_dr": 3, "status_at": T0, **given}
    return SessionState(bytes(8), 1, 0x26011234, bytes(16), bytes(16), **values)  # type: ignore[arg-type]


class Node:
    """A node that runs the firmware's command handler, and the air between it and the network.

    `uplink` is one uplink every 10 minutes and, where the network answers, its downlink. `loss`: of each direction.
    """

    def __init__(self, control: Control, state: SessionState, *, dr: int = 2, snr_db: float = 8.0) -> None:
        self.control = control
        self.state = state
        self.snr_db = snr_db
        self.loss = 0.0
        self.random = Random(1)  # noqa: S311 - a seed, not a secret
        self.session = Session(0x26011234, 0, bytes(16), bytes(16), eu868)
        for index, freq_hz in enumerate((867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000)):
            self.session.set_channel(3 + index, freq_hz, eu868.DR_RANGE)
        self.session.dr = dr
        self.session.rx2_dr = state.rx2_dr
        self.fcnt = -1
        self.now = T0
        self.downlinks: list[bytes] = []

    def uplink(self, *, own: bytes = b"", interval_s: float = 600.0, anyway: bool = False) -> Reply:
        """`own`: what the node asks; `anyway`: there is a downlink for another reason."""
        self.fcnt += 1
        self.now += interval_s
        session = self.session
        fopts = own + session.answers + session.sticky
        session.sticky = firmware.sticky(session.answers) + session.sticky
        session.answers = b""
        if self.random.random() < self.loss:
            return Reply()
        reply = self.control.conclude(
            fopts,
            adr=True,
            adr_ack_req=False,
            fcnt=self.fcnt,
            dr=session.dr,
            snr=self.snr_db - 2 * session.tx_power,
            gateways=2,
            heard_at=self.now,
        )
        assert len(reply.fopts) <= 15
        assert set(reply.kinds) <= set(KINDS)
        if reply.must_answer or anyway:
            self.control.sent()
            self.downlinks.append(reply.fopts)
            if self.random.random() >= self.loss:
                session.sticky = b""
                session.answers = firmware.apply(session, eu868, reply.fopts, 4.0, 254, True, None)
        return reply


def started(settings: Settings = SETTINGS, **given: int | float) -> Node:
    state = state_of(**given)
    return Node(Control(settings, state), state)


def conclude(control: Control, commands: bytes = b"", **given: object) -> Reply:
    values = {"adr": True, "adr_ack_req": False, "fcnt": 0, "dr": 5, "snr": 2.0, "gateways": 1, "heard_at": T0, **given}
    return control.conclude(commands, **values)  # type: ignore[arg-type]


def replies(control: Control, count: int, *, every: int = 1, snr: float = 2.0) -> Reply:
    """The last of so many."""
    return [conclude(control, fcnt=every * number, snr=snr) for number in range(count)][-1]


# -- answers


def test_a_link_check_is_answered_at_once() -> None:
    reply = conclude(Control(SETTINGS, state_of()), bytes((mac.LINK_CHECK,)), dr=0, snr=-14.6, gateways=3)
    assert reply.fopts == mac.link_check_ans(5, 3)
    assert reply.must_answer


def test_the_time_is_that_of_the_transmission_that_is_answered() -> None:
    control = Control(SETTINGS, state_of())
    reply = conclude(control, bytes((mac.DEVICE_TIME, mac.LINK_CHECK)), heard_at=T0 + 0.25)
    assert reply.fopts == mac.link_check_ans(10, 1) + mac.device_time_ans(T0 + 0.25)
    assert reply.must_answer
    assert control.again(T0 + 3.5) == mac.link_check_ans(10, 1) + mac.device_time_ans(T0 + 3.5)
    assert conclude(control, b"", fcnt=1).fopts == control.again(T0 + 9) == b"", "who has not asked is not told"


def test_asking_twice_in_one_frame_gives_one_answer() -> None:
    reply = conclude(Control(SETTINGS, state_of()), bytes((mac.LINK_CHECK,) * 7))
    assert reply.fopts == mac.link_check_ans(10, 1)


def test_a_node_that_asks_whether_it_is_heard_is_answered_and_others_are_not() -> None:
    assert conclude(Control(SETTINGS, state_of()), adr_ack_req=True).must_answer
    assert conclude(Control(SETTINGS, state_of())) == Reply()


def test_what_cannot_be_understood_is_counted() -> None:
    reply = conclude(Control(SETTINGS, state_of()), bytes((mac.LINK_CHECK, 0x7F, mac.DEVICE_TIME)))
    assert reply.kinds == ("mac_malformed",)
    assert reply.fopts == mac.link_check_ans(10, 1)


# -- ADR


def test_a_near_node_is_raised_to_sf7_and_then_sends_with_less_power() -> None:
    node = started()
    for _ in range(5):
        node.uplink()
    assert node.session.dr == 5
    assert node.downlinks == [mac.link_adr_req(5, 0, 0x00FF, 0, 1)]
    reply = node.uplink()
    assert reply.changed
    assert reply.kinds == ("adr_request",)
    assert not reply.must_answer
    for _ in range(25):
        node.uplink()
    assert node.downlinks[1:] == [mac.link_adr_req(5, 1, 0x00FF, 0, 1)]
    assert (node.state.tx_power, node.state.nb_trans, node.state.adr_tries) == (1, 1, 0)
    for _ in range(200):
        node.uplink()
    assert len(node.downlinks) <= 3
    assert node.session.tx_power == node.state.tx_power
    assert node.session.channel_mask == 0xFF


@pytest.mark.parametrize("why", ["node", "town", "modulation", "buffered snr"])
def test_a_node_is_left_alone_where_adr_is_off(why: str) -> None:
    control = Control(replace(SETTINGS, adr=why != "town"), state_of())
    given = {"node": {"adr": False}, "town": {}, "modulation": {"dr": None}, "buffered snr": {"snr": None}}[why]
    for fcnt in range(50):
        assert conclude(control, fcnt=fcnt, **{"dr": 0, "snr": 9.0, **given}) == Reply()


def test_nothing_is_taken_for_granted_before_the_node_has_said_so() -> None:
    control, state = Control(SETTINGS, s := state_of()), s
    reply = replies(control, 20, snr=9.0)
    assert reply.fopts == mac.link_adr_req(5, 2, 0x00FF, 0, 1)
    control.sent()
    assert (state.tx_power, state.nb_trans) == (0, 1)
    conclude(control, TAKEN, fcnt=20, snr=5.0)
    assert state.tx_power == 2


def test_what_was_not_answered_is_asked_again_and_not_for_ever() -> None:
    control, state = Control(SETTINGS, s := state_of()), s
    asked = []
    for fcnt in range(90):
        reply = conclude(control, fcnt=fcnt, snr=9.0, heard_at=T0 + 600 * fcnt)
        if reply.fopts:
            asked.append(fcnt)
            control.sent()
    assert asked == [19, 20, 21]
    assert state.adr_tries == 3  # and in doubt whether it was taken: asked again, but much later


def test_what_no_gateway_could_send_was_not_asked() -> None:
    control, state = Control(SETTINGS, s := state_of()), s
    for fcnt in range(40):
        reply = conclude(control, fcnt=fcnt, snr=9.0)
        assert bool(reply.fopts) == (fcnt >= 19)
        if fcnt % 2:
            control.sent()
            control.not_sent()
        assert "adr_refused" not in reply.kinds
    assert state.adr_tries == 0


def test_an_answer_given_to_a_repetition_counts_as_asked() -> None:
    control, state = Control(SETTINGS, s := state_of()), s
    reply = replies(control, 20, snr=9.0)
    control.sent()
    control.not_sent()
    assert control.again(T0) == reply.fopts
    control.sent()
    assert conclude(control, TAKEN, fcnt=20, snr=9.0).kinds.count("adr_request") >= 1
    assert state.tx_power == 2


def test_a_refused_data_rate_is_not_advised_again() -> None:
    control = Control(SETTINGS, state_of())
    asked = []
    for fcnt in range(200):
        refusal = bytes.fromhex("0305") if asked and asked[-1][0] == fcnt - 1 else b""
        reply = conclude(control, refusal, fcnt=fcnt, dr=3, snr=3.0, heard_at=T0 + 6000 * fcnt)
        assert ("adr_refused" in reply.kinds) == bool(refusal)
        if reply.fopts:
            control.sent()
            asked.append((fcnt, reply.fopts[1] >> 4, reply.fopts[1] & 0x0F))
    assert asked == [(4, 4, 0)]


def test_a_node_that_refuses_its_channels_is_told_to_use_all_it_has() -> None:
    node = started()
    node.session.set_channel(7, 0, 0)  # it lacks one of the CFList
    for _ in range(24):
        node.uplink()
    assert node.session.dr == 5
    assert node.downlinks[0][4] >> 4 == 0
    assert node.downlinks[1][4] >> 4 == 6


def test_a_node_that_refuses_everything_is_left_in_peace() -> None:
    control = Control(SETTINGS, state_of())
    asked = 0
    commands = b""
    for fcnt in range(1000):
        reply = conclude(control, commands, fcnt=fcnt, dr=2, snr=9.0, heard_at=T0 + 600 * fcnt)
        commands = b""
        if reply.fopts:
            asked += 1
            control.sent()
            commands = bytes.fromhex("0300")
    assert asked <= 15


def test_repeats_are_asked_for_where_frames_get_lost() -> None:
    control = Control(SETTINGS, state_of())
    reply = replies(control, 20, every=2)
    assert reply.fopts == mac.link_adr_req(5, 0, 0x00FF, 0, 3)


def test_the_nodes_own_backoff_is_understood() -> None:
    """It raises the power before it lowers the data rate."""
    state = state_of(tx_power=4)
    control = Control(SETTINGS, state)
    conclude(control, fcnt=0, dr=5)
    reply = conclude(control, fcnt=130, dr=4)
    assert reply.changed
    assert state.tx_power == 0


def test_a_node_that_may_have_raised_its_power_is_told_again() -> None:
    control = Control(SETTINGS, state_of(tx_power=4))
    conclude(control, fcnt=100)
    assert conclude(control, fcnt=120, adr_ack_req=True).fopts == b""
    reply = conclude(control, fcnt=133, adr_ack_req=True)
    assert reply.fopts == mac.link_adr_req(5, 4, 0x00FF, 0, 1)
    control.sent()
    assert conclude(control, TAKEN, fcnt=134).fopts == b""


def test_an_answer_to_a_request_of_an_earlier_process_makes_it_ask_again() -> None:
    state = state_of(tx_power=3)
    reply = conclude(Control(SETTINGS, state), TAKEN, dr=5)
    assert reply.fopts == mac.link_adr_req(5, 3, 0x00FF, 0, 1)
    assert reply.must_answer


def test_what_an_earlier_process_asked_without_an_answer_is_asked_again() -> None:
    """It may have been taken, and the answer lost."""
    state = state_of(tx_power=3)
    before = Control(SETTINGS, state)
    assert replies(before, 20, snr=9.0).changed
    state = replace(state)  # as it is stored with the FCntDown, before the downlink is sent
    assert state.adr_tries == 1
    assert conclude(Control(SETTINGS, state), fcnt=21).fopts == mac.link_adr_req(5, 3, 0x00FF, 0, 1)


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("die_every", [0, 7])
def test_network_and_node_agree_in_the_end(loss: float, die_every: int) -> None:
    """Frames lost both ways, and a network that is killed again and again, with what was stored."""
    for seed in range(10):
        node = started(replace(SETTINGS, rx1_delay_s=5, rx1_dr_offset=1), rx2_dr=0)
        node.random, node.loss = Random(seed), loss  # noqa: S311
        for number in range(300):
            node.uplink()
            if die_every and number < 100 and number % die_every == 0:
                node.state = replace(node.state)
                node.control = Control(replace(SETTINGS, rx1_delay_s=5, rx1_dr_offset=1), node.state)
        node.loss = 0.0
        for _ in range(330):  # where three answers were lost in a row, the node is told again after its patience
            node.uplink()
        state, session = node.state, node.session
        assert (state.rx1_delay_s, state.rx1_dr_offset, state.rx2_dr) == (5, 1, 3)
        assert (session.rx1_delay_s, session.rx1_dr_offset, session.rx2_dr) == (5, 1, 3)
        assert (state.tx_power, state.nb_trans) == (session.tx_power, session.nb_trans)
        assert session.dr == 5
        assert session.sticky == b""
        assert len(node.downlinks) < 30


def test_a_downlink_that_a_gateway_refused_and_another_took_counts_once() -> None:
    control = Control(SETTINGS, s := state_of())
    replies(control, 20, snr=9.0)
    for _ in range(3):
        control.sent()
    assert conclude(control, TAKEN, fcnt=20, snr=9.0).kinds == ("adr_request",)
    assert (s.tx_power, s.adr_tries) == (2, 0)


# -- windows


def test_windows_change_with_the_nodes_answer_only() -> None:
    wanted = replace(SETTINGS, rx1_delay_s=5, rx2_dr=0)
    node = started(wanted)
    reply = node.uplink()
    assert reply.fopts == mac.rx_param_setup_req(0, 0, 869_525_000) + mac.rx_timing_setup_req(5)
    assert not reply.must_answer  # it rides along
    node.uplink(anyway=True)
    assert (node.session.rx1_delay_s, node.session.rx2_dr) == (5, 0)
    assert (node.state.rx1_delay_s, node.state.rx2_dr) == (1, 3)
    reply = node.uplink()
    assert (node.state.rx1_delay_s, node.state.rx2_dr) == (5, 0)
    assert reply.changed
    assert reply.must_answer  # else the node would repeat its answer
    assert node.session.sticky == b""
    assert node.uplink() == Reply()


def test_a_request_gets_a_downlink_of_its_own_after_an_hour() -> None:
    node = started(replace(SETTINGS, rx1_delay_s=5, adr=False))
    replies = [node.uplink().must_answer for _ in range(7)]
    assert replies == [False] * 6 + [True]


def test_a_node_that_refuses_its_windows_keeps_them() -> None:
    control, state = Control(replace(SETTINGS, rx2_dr=0), s := state_of()), s
    for fcnt in range(10):
        reply = conclude(control, bytes.fromhex("0505") if fcnt else b"", fcnt=fcnt, heard_at=T0 + fcnt * DAY_S)
        control.sent()
        assert bool(reply.fopts) == (fcnt < 3)
    assert state.rx2_dr == 3


# -- battery


def test_a_nodes_battery_is_asked_for_once_a_day() -> None:
    node = started(Settings(), status_at=T0)
    told = []
    for _ in range(3 * 144):
        reply = node.uplink()
        if reply.status:
            told.append(reply.status)
    assert told == [(254, 4)] * len(told)
    assert 2 <= len(told) <= 3
    assert sum(down.endswith(mac.dev_status_req()) for down in node.downlinks) == len(told)
    assert node.state.status_at > T0 + 2 * DAY_S


def test_a_node_that_never_tells_its_battery_is_asked_three_times_a_day() -> None:
    control = Control(Settings(adr=False), state_of())
    asked = 0
    for fcnt in range(144 * 4):
        reply = conclude(control, fcnt=fcnt, heard_at=T0 + 600 * fcnt)
        if reply.must_answer:
            asked += 1
            control.sent()
    assert asked == 9


def test_no_more_than_12_such_downlinks_a_day() -> None:
    control = Control(replace(SETTINGS, rx1_delay_s=5, rx2_dr=0), state_of())
    sent: list[float] = []
    for fcnt in range(3000):
        now = T0 + 60 * fcnt
        sticky = bytes.fromhex("0501" + "08") if fcnt % 3 else b""
        if conclude(control, sticky, fcnt=fcnt, heard_at=now).must_answer:
            control.sent()
            sent.append(now)
    assert len(sent) > MAX_REQUESTS_PER_DAY
    assert all(late - early >= DAY_S for early, late in zip(sent, sent[MAX_REQUESTS_PER_DAY:], strict=False))


def test_a_node_that_hears_nothing_is_not_asked_for_ever() -> None:
    control = Control(replace(SETTINGS, rx1_delay_s=5), state_of())
    asked = 0
    for fcnt in range(144 * 3):
        if conclude(control, fcnt=fcnt, heard_at=T0 + 600 * fcnt).must_answer:
            control.sent()
            asked += 1
    assert 2 * MAX_REQUESTS_PER_DAY <= asked <= 3 * MAX_REQUESTS_PER_DAY


# -- whatever comes

FRAMES = st.tuples(
    st.binary(max_size=20) | st.sampled_from([TAKEN, b"\x03\x00", b"\x05\x07\x08", b"\x02\x0d", b"\x06\xff\x20"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 200),
    st.none() | st.integers(0, 6),
    st.none() | st.floats(-40, 40),
    st.integers(0, 300),
    st.sampled_from([0.0, 5.0, 600.0, 90_000.0, -1e9]),
    st.booleans(),
)


@settings(max_examples=60)
@given(st.lists(FRAMES, max_size=80), st.integers(1, 15), st.integers(0, 5), st.integers(0, 5))
def test_whatever_nodes_say_the_reply_fits_and_the_session_stays_lawful(
    told: list[tuple[bytes, bool, bool, int, int | None, float | None, int, float, bool]],
    delay: int,
    rx2_dr: int,
    offset: int,
) -> None:
    state = state_of()
    wanted = Settings(rx1_delay_s=delay, rx2_dr=rx2_dr, rx1_dr_offset=offset)
    control = Control(wanted, state)
    fcnt, now = 0, T0
    for commands, adr, adr_ack_req, step, dr, snr, gateways, passed_s, sent in told:
        fcnt, now = fcnt + step, now + passed_s
        before = replace(state)
        reply = control.conclude(
            commands,
            adr=adr,
            adr_ack_req=adr_ack_req,
            fcnt=fcnt,
            dr=dr,
            snr=snr,
            gateways=gateways,
            heard_at=now,
        )
        assert len(reply.fopts) <= 15
        assert reply.changed or state == before
        assert (state.rx1_delay_s, state.rx1_dr_offset, state.rx2_dr) in {
            (d, *p) for d in (1, delay) for p in ((0, 3), (offset, rx2_dr))
        }
        assert 0 <= state.tx_power <= 7
        assert 1 <= state.nb_trans <= 3
        if sent:
            control.sent()
            if passed_s == 5.0:
                control.not_sent()
