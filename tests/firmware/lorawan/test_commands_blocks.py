"""Any block of commands, on any session that blocks can bring about: as the oracle has it, and never illegal."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import command_oracle as oracle
from commanded import Asked, fresh, on_air, state
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lorawan import as923, commands, eu868, in865, region
from lorawan.session import Session

PLANS = ((eu868, oracle.EU868), (as923, oracle.AS923))

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Near what matters: the edges of the bands, both regions, steps that are no channel anywhere.
edges = [khz * 1000 for plan in (oracle.EU868, oracle.AS923) for band in plan.bands for khz in band]
frequencies = (
    st.sampled_from([0, *(int(k * 1000) for plan in (oracle.EU868, oracle.AS923) for k in plan.defaults)])
    | st.sampled_from([867100000, 868300000, 869525000, 922000000, 923200000])
    | st.builds(lambda edge, step: int(edge) + step * 100, st.sampled_from(edges), st.integers(-1300, 1300))
    | st.integers(0, 0xFFFFFF).map(lambda step: step * 100)
)
octets = st.integers(0, 255)
# Mostly what a network might send, and few channels, so that commands meet each other's work.
likely_hz = st.sampled_from([0, 867100000, 868300000, 868475000, 922000000, 923200000])
numbers = st.sampled_from([3, 3, 3, 4]) | st.integers(0, 17)
masks = (
    st.sampled_from([0, 1, 7, 8, 8, 0x18, 0xFF]) | st.integers(0, 15).map(lambda bit: 1 << bit) | st.integers(0, 0xFFFF)
)
link_adrs = st.builds(
    lambda rate, power, mask, control, repeats: bytes(
        [3, rate << 4 | power, mask & 255, mask >> 8, control << 4 | repeats]
    ),
    st.sampled_from([0, 1, 2, 5, 6, 15]) | st.integers(0, 15),
    st.sampled_from([0, 7, 15]) | st.integers(0, 15),
    masks,
    st.sampled_from([0, 0, 0, 6]) | st.integers(0, 15),
    st.integers(0, 15),
)
ranges = st.sampled_from([0x50, 0x66, 0x10, 0x22, 0x60, 0x65]) | octets
one = (
    link_adrs
    | link_adrs
    | st.builds(lambda n, hz, drs: bytes([7, n]) + on_air(hz) + bytes([drs]), numbers, likely_hz | frequencies, ranges)
    | st.builds(lambda n, hz: bytes([10, n]) + on_air(hz), numbers, likely_hz | frequencies)
    | st.builds(lambda settings, hz: bytes([5, settings]) + on_air(hz), octets, likely_hz | frequencies)
    | st.builds(lambda cid, value: bytes([cid, value]), st.sampled_from([4, 8, 9]), octets)
    | st.just(b"\x06")
    | st.binary(min_size=2, max_size=2).map(lambda data: b"\x02" + data)
    | st.binary(min_size=5, max_size=5).map(lambda data: b"\x0d" + data)
)
# a channel, put to use as the only one, and taken away or changed again
taken_away = st.builds(
    lambda hz, drs, rate, late: b"\x07\x03" + on_air(hz) + bytes([drs, 3, rate << 4 | 15, 8, 0, 1]) + late,
    st.sampled_from([867100000, 868300000, 922000000]),
    ranges,
    st.integers(0, 6),
    st.builds(lambda hz, drs: b"\x07\x03" + on_air(hz) + bytes([drs]), likely_hz, ranges),
)
blocks = (
    taken_away
    | st.lists(one, max_size=8).map(b"".join)
    | st.lists(link_adrs, min_size=1, max_size=40).map(b"".join)
    | st.builds(lambda head, tail: b"".join(head) + tail, st.lists(one, max_size=4), st.binary(max_size=12))
    | st.binary(max_size=242)
)


def modelled(session: Session, plan: oracle.Plan) -> oracle.Device:
    """The session as the oracle sees it."""
    channels = {
        n: oracle.Channel(
            hz / 1000,
            session.channel_drs[n] & 15,
            session.channel_drs[n] >> 4,
            session.dl_channels[n] / 1000,
            bool(session.channel_mask >> n & 1),
        )
        for n, hz in enumerate(session.channels)
        if hz
    }
    return oracle.Device(
        plan=plan,
        channels=channels,
        rate=session.dr,
        power=session.tx_power,
        repeats=session.nb_trans,
        delay=session.rx1_delay_s,
        offset=session.rx1_dr_offset,
        rx2=(session.rx2_dr, session.rx2_freq_hz / 1000),
        duty=session.max_duty,
        dwell_up=bool(session.dwell & 1),
        dwell_down=bool(session.dwell & 2),
        eirp=session.max_eirp_dbm,
    )


def lasting(device: oracle.Device) -> tuple[object, ...]:
    """What must be in flash before it is answered; not data rate, power and repeats."""
    return (
        device.channels, device.delay, device.offset, device.rx2,
        device.duty, device.dwell_up, device.dwell_down, device.eirp,
    )  # fmt: skip


def assert_legal(session: Session, table: ModuleType) -> None:
    """The next uplink and its windows are possible, and the law and the default channels are untouched."""
    defaults = len(table.DEFAULT_CHANNELS_HZ)
    assert tuple(session.channels[:defaults]) == table.DEFAULT_CHANNELS_HZ
    assert all(drs == table.DR_RANGE for drs in session.channel_drs[:defaults])
    assert len(session.channels) == len(session.channel_drs) == len(session.dl_channels) == 16
    enabled = [n for n in range(16) if session.channel_mask >> n & 1]
    assert enabled
    assert session.channel_mask < 0x10000
    assert all(session.channels[n] for n in enabled)
    assert all(hz == 0 or region.can_transmit(table, hz) for hz in session.channels)
    assert all(hz == 0 or region.can_listen(table, hz) for hz in session.dl_channels)
    assert all(session.channels[n] or not session.dl_channels[n] for n in range(16))
    assert region.can_send(table, session.dr)
    assert any(session.channel_drs[n] & 15 <= session.dr <= session.channel_drs[n] >> 4 for n in enabled)
    assert region.max_payload(table, session.dr, session.dwell) >= 19
    rx1 = region.rx1_dr(table, session.dr, session.rx1_dr_offset, session.dwell)
    assert region.can_receive(table, rx1)
    assert region.can_receive(table, session.rx2_dr)
    assert region.can_listen(table, session.rx2_freq_hz)
    assert 1 <= session.rx1_delay_s <= 15
    assert 0 <= session.rx1_dr_offset < len(table.RX1_DR[0])
    assert 0 <= session.tx_power <= table.MAX_TX_POWER
    assert 1 <= session.nb_trans <= 15
    assert 0 <= session.max_duty <= 15


heard = st.tuples(
    blocks,
    st.floats(-40, 40),
    octets,
    st.sampled_from([True, True, False]),
    st.sampled_from([b"", b"\x02", b"\x0d", b"\x02\x0d"]),
    st.sampled_from([0, 0, 57, 59, 60]),
)


@settings(max_examples=600)
@given(st.sampled_from(PLANS), st.lists(heard, min_size=1, max_size=5))
@example(PLANS[0], [(b"\x03\x50\x00\x01\x00" * 31, 0.0, 255, True, b"", 0)])
@example(PLANS[1], [(b"\x09\x05\x03\x0f\x03\x00\x00\x09\x15", 0.5, 255, True, b"", 0)])
def test_blocks_do_what_the_oracle_says(plans: tuple, downlinks: list) -> None:
    table, plan = plans
    session = fresh(table)
    for block, snr, battery, adr, asked, waiting in downlinks:
        before = modelled(session, plan)
        session.answers = bytes(waiting)
        session.changed = False
        outcome = Asked(*asked)
        answers = commands.apply(session, table, block, snr, battery, adr, outcome)
        after, want = oracle.answer(before, block, snr=snr, battery=battery, adr=adr, asked=asked, waiting=waiting)
        assert answers.hex() == want.hex()
        assert (outcome.link_check, outcome.device_time) == (after.link_check, after.time)
        got = modelled(session, plan)
        assert got == replace(after, link_check=None, time=None)
        assert session.changed == (lasting(before) != lasting(after))
        assert waiting + len(answers) <= 60 or not answers
        assert_legal(session, table)


@settings(max_examples=300)
@given(st.sampled_from([eu868, as923, in865]), st.lists(blocks, min_size=1, max_size=6), st.booleans())
def test_no_block_raises_or_leaves_an_illegal_session(table: ModuleType, downlinks: list[bytes], adr: bool) -> None:
    """In a third region, too, and with nobody to tell of answers to requests."""
    session = fresh(table)
    for block in downlinks:
        answers = commands.apply(session, table, block, -7.25, 255, adr, None)
        assert len(answers) <= 60
        assert b"".join(bytes([cid]) + data for cid, data in commands.parse(answers, commands.UP_SIZES)) == answers
        assert_legal(session, table)
        again = Session.unpack(session.pack())
        assert again is not None
        assert state(again) == state(session)


@settings(max_examples=300)
@given(st.lists(blocks, max_size=3), st.lists(link_adrs, min_size=1, max_size=30), st.booleans())
def test_link_adr_is_all_or_nothing(before: list[bytes], requests: list[bytes], adr: bool) -> None:
    """Either the answer is yes and the last request is what holds, or it is no and nothing has changed."""
    session = fresh(eu868)
    for block in before:
        commands.apply(session, eu868, block, 0.0, 255, True, None)
    old = state(session)
    rate, power, repeats = session.dr, session.tx_power, session.nb_trans
    answers = commands.apply(session, eu868, b"".join(requests), 0.0, 255, adr, None)
    status = answers[1]
    assert answers == bytes([3, status]) * len(requests)
    assert status <= 7
    last = requests[-1]
    if status != (7 if adr else 1):
        assert state(session) == old
        assert adr or status == 0
        return
    if adr:
        assert session.dr == (rate if last[1] >> 4 == 15 else last[1] >> 4)
        assert session.tx_power == (power if last[1] & 15 == 15 else last[1] & 15)
        assert session.nb_trans == (last[4] & 15 or 1)
    else:
        assert (session.dr, session.tx_power, session.nb_trans) == (rate, power, repeats)
    defined = sum(1 << n for n, hz in enumerate(session.channels) if hz)
    assert session.channel_mask == (defined if last[4] & 0x70 else last[2] | last[3] << 8)
    assert state(session)[:7] == old[:7]
