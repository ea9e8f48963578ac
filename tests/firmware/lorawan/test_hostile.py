"""Whatever comes off the air: nothing raises, and nothing changes before a MIC is good."""

from __future__ import annotations

import lorawan_network as network
from expect import some
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lorawan import commands, eu868, frames
from lorawan import region as plan
from lorawan.actions import Heard, Listen
from lorawan.mac import Mac
from lorawan.results import Outcome
from lorawan.session import Session

APP_KEY = bytes(range(16))
NWK_SKEY = bytes(range(16, 32))
APP_SKEY = bytes(range(32, 48))
DEV_ADDR = 0x26011BDA

# a busy machine is no fault of the code
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

keys = st.binary(min_size=16, max_size=16)
counters = st.integers(-1, 0xFFFFFFFE)
near_frames = st.builds(
    lambda mhdr, addr, rest: bytes([mhdr]) + addr + rest,
    st.sampled_from([0x20, 0x60, 0xA0, 0x40, 0xE0]) | st.integers(0, 255),
    st.just(DEV_ADDR.to_bytes(4, "little")) | st.binary(min_size=4, max_size=4),
    st.binary(max_size=250),
)
anything = st.binary(max_size=255) | near_frames


def session(fcnt_down: int = -1) -> Session:
    made = Session(DEV_ADDR, 0x13, NWK_SKEY, APP_SKEY, eu868)
    made.fcnt_down = fcnt_down
    return made


def run(mac: Mac, exchange, air: list[bytes | None]):
    answer = None
    heard = iter(air)
    try:
        while True:
            action = exchange.send(answer)
            answer = None
            if isinstance(action, Listen):
                frame = next(heard)
                answer = None if frame is None else Heard(frame, -120, -20.0)
    except StopIteration as stop:
        return stop.value


@given(anything)
def test_parsers_never_raise(frame: bytes) -> None:
    frames.data_fields(frame)
    assert frames.parse_data_down(NWK_SKEY, APP_SKEY, DEV_ADDR, -1, frame) is None
    assert frames.parse_join_accept(APP_KEY, frame) is None


@given(anything, anything, counters)
def test_noise_after_an_uplink_changes_nothing(first: bytes, second: bytes, fcnt_down: int) -> None:
    mac = Mac(eu868, session(fcnt_down), lambda n: 0)
    silent = Mac(eu868, session(fcnt_down), lambda n: 0)
    outcome = run(mac, mac.uplink(1, b"x", True), [first, second])
    run(silent, silent.uplink(1, b"x", True), [None, None])
    assert some(mac.session).pack() == some(silent.session).pack()
    assert (outcome.acked, outcome.window, outcome.downlinks) == (False, 0, [])


@given(anything, anything)
def test_noise_after_a_join_request_changes_nothing(first: bytes, second: bytes) -> None:
    mac = Mac(eu868, session(), lambda n: 0)
    before = some(mac.session).pack()
    assert run(mac, mac.join(bytes(8), bytes(8), APP_KEY, 1), [first, second]) is None
    assert some(mac.session).pack() == before
    assert mac.last_join_nonce == -1


@given(
    fcnt=st.integers(0, 0xFFFFFFFF),
    port=st.none() | st.integers(0, 255),
    payload=st.binary(max_size=222),
    fopts=st.binary(max_size=15),
    flags=st.sampled_from([0, 0x10, 0x20, 0x40, 0x80, 0xF0]),
    confirmed=st.booleans(),
    snr=st.floats(-200, 200),
)
def test_signed_nonsense_never_raises(fcnt, port, payload, fopts, flags, confirmed, snr) -> None:
    """A network that means ill, or that knows more than we do, can say what it likes."""
    frame = network.data_frame(
        NWK_SKEY,
        APP_SKEY,
        DEV_ADDR,
        fcnt,
        direction=1,
        port=port,
        payload=payload if port is not None else b"",
        confirmed=confirmed,
        fctrl=flags,
        fopts=fopts,
    )
    down = frames.parse_data_down(NWK_SKEY, APP_SKEY, DEV_ADDR, fcnt - 1, frame)
    if fopts and port == 0:
        assert down is None
        return
    assert down is not None
    assert down.fcnt == fcnt
    assert down.confirmed == confirmed
    if port:
        assert (down.port, down.payload, down.commands) == (port, payload, fopts)
    elif port == 0:
        assert (down.payload, down.commands) == (b"", payload)
    mac = Mac(eu868, session(fcnt - 1), lambda n: 0)
    outcome = run(mac, mac.uplink(1, b"x"), [frame])
    assert isinstance(outcome, Outcome)
    # the node still works, with windows that can be opened, and its answers fit
    assert Session.unpack(some(mac.session).pack()) is not None
    run(mac, mac.uplink(1, b"x"), [None, None])


@given(st.binary(max_size=242), st.booleans())
def test_command_blocks(block: bytes, down: bool) -> None:
    """Parsed commands are a prefix of the block, each as long as the table says."""
    sizes = commands.DOWN_SIZES if down else commands.UP_SIZES
    found = commands.parse(block, sizes)
    joined = b"".join(bytes([cid]) + data for cid, data in found)
    assert block.startswith(joined)
    assert all(len(data) == sizes[cid] for cid, data in found)
    rest = block[len(joined) :]
    assert not rest or rest[0] not in sizes or len(rest) <= sizes[rest[0]]


@given(st.binary(max_size=242), st.floats(-50, 50), st.integers(0, 255))
def test_answers_are_whole_commands(block: bytes, snr: float, battery: int) -> None:
    mine = session()
    answers = commands.apply(mine, eu868, block, snr, battery, True, None)
    assert b"".join(bytes([cid]) + data for cid, data in commands.parse(answers, commands.UP_SIZES)) == answers
    assert plan.can_receive(eu868, mine.rx2_dr)
    assert plan.can_listen(eu868, mine.rx2_freq_hz)
    assert 1 <= mine.rx1_delay_s <= 15
    assert 0 <= mine.rx1_dr_offset <= 5


@given(last=counters, ahead=st.integers(1, 0x10000))
def test_counter_rebuild(last: int, ahead: int) -> None:
    """Up to 65536 ahead, every counter is known again by its low half."""
    assert frames.rebuild_fcnt(last, (last + ahead) & 0xFFFF) == last + ahead


@given(last=counters, low=st.integers(0, 0xFFFF))
def test_rebuilt_counters_are_new(last: int, low: int) -> None:
    rebuilt = frames.rebuild_fcnt(last, low)
    assert last < rebuilt <= last + 0x10000
    assert rebuilt & 0xFFFF == low


frequencies = st.just(0) | st.integers(8630000, 8700000).map(lambda step: step * 100)
sessions = st.builds(
    dict,
    dev_addr=st.integers(0, 0xFFFFFFFF),
    net_id=st.integers(0, 0xFFFFFF),
    nwk_skey=keys,
    app_skey=keys,
    fcnt_up=st.integers(0, 0xFFFFFFFF),
    fcnt_down=st.integers(-1, 0xFFFFFFFF),
    rx1_delay_s=st.integers(1, 15),
    rx1_dr_offset=st.integers(0, 5),
    rx2_dr=st.integers(0, 6),
    rx2_freq_hz=frequencies,
    channels=st.lists(frequencies, min_size=16, max_size=16),
    channel_drs=st.binary(min_size=16, max_size=16).map(bytearray),
    channel_mask=st.integers(0, 0xFFFF),
    channels_used=st.integers(0, 0xFFFF),
    dr=st.integers(0, 6),
    tx_power=st.integers(0, 7),
    nb_trans=st.integers(1, 15),
    ack_owed=st.booleans(),
    answers=st.binary(max_size=120),
    sticky=st.binary(max_size=120),
    waited=st.booleans(),
    max_duty=st.integers(0, 15),
    dwell=st.integers(0, 3),
    max_eirp_dbm=st.integers(0, 36),
    adr_ack_cnt=st.integers(0, 0xFFFF),
)


@given(sessions)
def test_session_round_trip(attributes: dict) -> None:
    made = Session(0, 0, b"", b"")
    for name, value in attributes.items():
        setattr(made, name, value)
    made.dl_channels = attributes["channels"][::-1]
    record = made.pack()
    assert len(record) <= 500
    again = Session.unpack(record)
    assert again is not None
    kept = [index for index, freq in enumerate(made.channels) if freq]
    last = kept[-1] + 1 if kept else 0  # what is beyond the last channel is nothing
    for name, value in attributes.items():
        if name in ("channels", "channel_drs"):
            assert getattr(again, name)[:last] == value[:last]
        else:
            assert getattr(again, name) == value
    assert again.dl_channels[:last] == made.dl_channels[:last]


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_are_no_session_or_one_that_packs_again(data: bytes) -> None:
    made = Session.unpack(data)
    assert made is None or len(made.pack()) <= 500


@given(
    join_nonce=st.integers(0, 0xFFFFFF),
    net_id=st.integers(0, 0xFFFFFF),
    dev_addr=st.integers(0, 0xFFFFFFFF),
    dl_settings=st.integers(0, 255),
    rx_delay=st.integers(0, 255),
    cflist=st.just(b"") | st.binary(min_size=16, max_size=16),
    dev_nonce=st.integers(0, 0xFFFF),
)
def test_any_signed_join_accept_gives_a_session_that_works(
    join_nonce, net_id, dev_addr, dl_settings, rx_delay, cflist, dev_nonce
) -> None:
    frame = network.join_accept(
        APP_KEY,
        join_nonce=join_nonce,
        net_id=net_id,
        dev_addr=dev_addr,
        dl_settings=dl_settings,
        rx_delay=rx_delay,
        cflist=cflist,
    )
    mac = Mac(eu868, None, lambda n: n - 1)
    joined = run(mac, mac.join(bytes(8), bytes(8), APP_KEY, dev_nonce), [None, frame])
    assert joined.window == 2
    assert mac.last_join_nonce == join_nonce
    made = some(mac.session)
    assert (made.nwk_skey, made.app_skey) == network.session_keys(APP_KEY, join_nonce, net_id, dev_nonce)
    assert (made.dev_addr, made.net_id) == (dev_addr, net_id)
    assert all(freq == 0 or plan.sub_band(eu868, freq) >= 0 for freq in made.channels)
    run(mac, mac.uplink(1, b"x"), [None, None])
    # the same again is refused
    assert run(mac, mac.join(bytes(8), bytes(8), APP_KEY, dev_nonce), [frame, frame]) is None
