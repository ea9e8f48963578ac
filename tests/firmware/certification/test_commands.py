"""MAC commands that are not about channels (TS001-1.0.4 5; CR1.0 section 2.5)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cert_lab import Lab
from cert_terms import RX2_HZ, hz, link_adr, new_channel, rx_param_setup

DEVICE_TIME, LINK_CHECK = 0x0D, 0x02


# --- LinkADRReq


@pytest.mark.parametrize("dr", range(6))
@pytest.mark.parametrize("power", [0, 1, 5, 7])
def test_link_adr_sets_data_rate_and_power(lab: Lab, dr: int, power: int) -> None:
    """LinkADRReq sets data rate and power, answered with 7 in the next uplink, which uses them already."""
    lab.uplink(rx1=lab.down(fopts=link_adr(dr, power, 7)))
    lab.dr, lab.tx_power = dr, power
    exchange = lab.uplink(b"x", rx1=lab.down())
    assert exchange.up.fopts == b"\x03\x07"
    assert exchange.up.sent.eirp_dbm == 16 - 2 * power
    assert lab.uplink(b"x").up.fopts == b""


@pytest.mark.parametrize(
    ("what", "request_", "status"),
    [
        ("no channel left", link_adr(3, 2, 0), 6),
        ("a channel that is not there", link_adr(3, 2, 0b1111), 6),
        ("ChMaskCntl 1", link_adr(3, 2, 7, control=1), 6),
        ("ChMaskCntl 5", link_adr(3, 2, 7, control=5), 6),
        ("ChMaskCntl 7", link_adr(3, 2, 7, control=7), 6),
        ("a data rate that no channel carries", link_adr(6, 2, 7), 5),
        ("FSK", link_adr(7, 2, 7), 5),
        ("a data rate that EU868 has not", link_adr(14, 2, 7), 5),
        ("a power that EU868 has not", link_adr(3, 8, 7), 3),
        ("another power that EU868 has not", link_adr(3, 14, 7), 3),
        ("everything wrong", link_adr(14, 14, 0), 0),
    ],
)
def test_refused_link_adr(lab: Lab, what: str, request_: bytes, status: int) -> None:
    """LinkADRReq with one field that cannot be is refused in that bit, and no field of it is taken."""
    lab.uplink(rx1=lab.down(fopts=link_adr(4, 1, 0b011)))
    lab.dr, lab.tx_power = 4, 1
    assert lab.answer() == b"\x03\x07"
    assert lab.command(request_) == bytes([3, status]), what
    freqs = {lab.uplink().up.sent.freq_hz for _ in range(4)}
    assert freqs == {868100000, 868300000}


def test_link_adr_15_keeps_data_rate_and_power(lab: Lab) -> None:
    """DataRate and TXPower 15 leave both as they are, and are acknowledged."""
    lab.uplink(rx1=lab.down(fopts=link_adr(3, 4, 7)))
    lab.dr, lab.tx_power = 3, 4
    lab.answer()
    assert lab.command(link_adr(15, 15, 0b001)) == b"\x03\x07"
    assert {lab.uplink().up.sent.freq_hz for _ in range(3)} == {868100000}


def test_link_adr_keeps_one_and_sets_the_other(lab: Lab) -> None:
    """DataRate 15 with a power, and TXPower 15 with a data rate, change just the one."""
    lab.uplink(rx1=lab.down(fopts=link_adr(15, 3, 7)))
    lab.tx_power = 3
    assert lab.answer() == b"\x03\x07"
    lab.uplink(rx1=lab.down(fopts=link_adr(2, 15, 7)))
    lab.dr = 2
    assert lab.answer() == b"\x03\x07"


def test_link_adr_mask_control_6(lab: Lab) -> None:
    """ChMaskCntl 6 switches every defined channel on, whatever the mask says."""
    lab.channels[3] = 867100000
    lab.command(new_channel(3, 867100000))
    lab.command(link_adr(5, 0, 0b0001))
    assert lab.command(link_adr(5, 0, 0, control=6)) == b"\x03\x07"
    assert {lab.uplink().up.sent.freq_hz for _ in range(8)} == set(lab.channels.values())


def test_link_adr_block_is_one(lab: Lab) -> None:
    """In a block of LinkADRReq the masks apply one after the other, and the last data rate, power and NbTrans count."""
    block = link_adr(0, 7, 0b111, 5, control=6) + link_adr(1, 6, 0b001, 4) + link_adr(3, 2, 0b110, 2)
    lab.uplink(rx1=lab.down(fopts=block))
    lab.dr, lab.tx_power = 3, 2
    exchange = lab.uplink(rx1=None)
    assert exchange.up.fopts == b"\x03\x07" * 3
    assert len(exchange.ups) == 2
    assert {up.sent.freq_hz for up in exchange.ups} == {868300000, 868500000}


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_link_adr_block_is_refused_as_one(lab: Lab, bad: int) -> None:
    """One request of a block that cannot be leaves all of it undone, and every request of it has the same answer."""
    block = [link_adr(3, 2, 0b111), link_adr(3, 2, 0b101), link_adr(3, 2, 0b100)]
    block[bad] = link_adr(3, 2, 0b111, control=4)
    answer = lab.command(b"".join(block))
    assert len(answer) == 6
    assert answer == answer[:2] * 3
    assert answer[1] & 1 == 0
    assert {lab.uplink().up.sent.freq_hz for _ in range(6)} == set(lab.channels.values())


def test_link_adr_blocks_apart(lab: Lab) -> None:
    """Another command between two LinkADRReq makes two blocks of them, each taken or refused on its own."""
    block = link_adr(4, 1, 0b111) + b"\x06" + link_adr(14, 1, 0b111)
    lab.uplink(rx1=lab.down(fopts=block))
    lab.dr, lab.tx_power = 4, 1
    assert lab.answer() == b"\x03\x07\x06\xff\x07\x03\x05"


def test_link_adr_on_a_device_with_less_power(fresh: Lab) -> None:
    """A power above what the device can do is acknowledged, and the device uses its own greatest."""
    fresh.new(max_eirp_dbm=12)
    fresh.join()
    assert fresh.command(link_adr(5, 0, 7)) == b"\x03\x07"
    assert fresh.uplink().up.sent.eirp_dbm == 12
    fresh.uplink(rx1=fresh.down(fopts=link_adr(5, 3, 7)))
    fresh.tx_power = 3
    assert fresh.answer() == b"\x03\x07"
    assert fresh.uplink().up.sent.eirp_dbm == 10


def test_link_adr_without_adr(fresh: Lab) -> None:
    """A device that does not set the ADR bit takes the channel mask at most, and says so."""
    fresh.new(adr=False)
    fresh.join()
    assert not fresh.uplink().up.adr
    answer = fresh.command(link_adr(0, 5, 0b001))
    assert answer == b"\x03\x01"
    assert {fresh.uplink().up.sent.freq_hz for _ in range(3)} == {868100000}


def test_adr_bit(lab: Lab) -> None:
    """A device that lets the network steer sets the ADR bit in every uplink."""
    assert all(lab.uplink(confirmed=confirmed).up.adr for confirmed in (False, True, False))


# --- DutyCycleReq, RXParamSetupReq, RXTimingSetupReq, TxParamSetupReq


@pytest.mark.parametrize("exponent", [0, 1, 7, 15])
def test_duty_cycle_is_answered(lab: Lab, exponent: int) -> None:
    """DutyCycleReq is answered once, without a payload."""
    lab.uplink(rx1=lab.down(fopts=bytes([4, exponent])))
    assert lab.uplink(b"x").up.fopts == b"\x04"
    assert lab.uplink(b"x").up.fopts == b""


def test_rx_param_setup(lab: Lab) -> None:
    """RXParamSetupReq moves RX2 and RX1DROffset from the next uplink on, answered with 7."""
    lab.uplink(rx1=lab.down(fopts=rx_param_setup(2, 4, 868500000)))
    lab.rx1_dr_offset, lab.rx2_dr, lab.rx2_hz = 2, 4, 868500000
    exchange = lab.uplink(rx2=lab.down(port=1, payload=b"x"))
    assert exchange.up.fopts == b"\x05\x07"
    assert exchange.outcome.window == 2
    assert lab.uplink(rx1=lab.down(port=1, payload=b"x")).outcome.window == 1


@pytest.mark.parametrize(
    ("block", "status"),
    [
        (rx_param_setup(6, 3, RX2_HZ), 3),
        (rx_param_setup(7, 3, RX2_HZ), 3),
        (rx_param_setup(1, 7, RX2_HZ), 5),
        (rx_param_setup(1, 15, RX2_HZ), 5),
        (rx_param_setup(1, 3, 862000000), 6),
        (rx_param_setup(1, 3, 0), 6),
        (rx_param_setup(7, 15, 915000000), 0),
    ],
)
def test_refused_rx_param_setup(lab: Lab, block: bytes, status: int) -> None:
    """RXParamSetupReq with one field that cannot be is refused in that bit, and the windows stay as they are."""
    assert lab.command(block) == bytes([5, status])
    assert lab.uplink(rx2=lab.down(port=1, payload=b"x")).outcome.window == 2


@pytest.mark.parametrize("delay", range(16))
def test_rx_timing_setup(lab: Lab, delay: int) -> None:
    """RXTimingSetupReq sets RX1 to 1 to 15 s, 0 meaning 1 s, and RX2 a second later; RFU bits are ignored."""
    lab.uplink(rx1=lab.down(fopts=bytes([8, 0xF0 | delay])))
    lab.rx1_delay_s = delay or 1
    exchange = lab.uplink(rx2=lab.down(port=1, payload=b"x"))
    assert exchange.up.fopts == b"\x08"
    assert exchange.outcome.window == 2


@pytest.mark.parametrize(("block", "answer"), [(b"\x08\x01", b"\x08"), (rx_param_setup(0, 0, RX2_HZ), b"\x05\x07")])
def test_answers_that_stick(lab: Lab, block: bytes, answer: bytes) -> None:
    """RXTimingSetupAns and RXParamSetupAns stand in every uplink until a class A downlink comes, in any window."""
    for window in (1, 2):
        lab.uplink(rx1=lab.down(fopts=block))
        for _ in range(4):
            assert lab.uplink().up.fopts == answer
        down = lab.down(port=1, payload=b"x")
        exchange = lab.uplink(rx1=down if window == 1 else None, rx2=down if window == 2 else None)
        assert exchange.up.fopts == answer
        assert lab.uplink().up.fopts == b""


def test_a_refusal_sticks_too(lab: Lab) -> None:
    """RXParamSetupAns is repeated when it refuses, too."""
    lab.uplink(rx1=lab.down(fopts=rx_param_setup(7, 0, RX2_HZ)))
    assert [lab.uplink().up.fopts for _ in range(3)] == [b"\x05\x03"] * 3


def test_other_answers_do_not_stick(lab: Lab) -> None:
    """LinkADRAns, DutyCycleAns, DevStatusAns and NewChannelAns are sent once."""
    lab.uplink(rx1=lab.down(fopts=link_adr(5, 0, 7) + b"\x04\x00" + b"\x06" + b"\x07\x03" + hz(862000000) + b"\x50"))
    assert lab.uplink().up.fopts == b"\x03\x07\x04\x06\xff\x07\x07\x02"
    assert lab.uplink().up.fopts == b""


def test_frame_that_does_not_pass_leaves_sticky_answers(lab: Lab) -> None:
    """A frame that is not good does not end the repeating."""
    lab.uplink(rx1=lab.down(fopts=b"\x08\x01"))
    good = lab.down()
    lab.uplink(rx1=good[:-1] + bytes([good[-1] ^ 1]))
    assert lab.uplink().up.fopts == b"\x08"


def test_sticky_answers_survive_reset_and_power_cut(lab: Lab) -> None:
    """An answer that is to be repeated is repeated after a reset and after a power cut."""
    lab.uplink(rx1=lab.down(fopts=b"\x08\x03"))
    lab.rx1_delay_s = 3
    for power_cut in (False, True):
        lab.restart(power_cut=power_cut)
        assert lab.uplink().up.fopts == b"\x08"


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (rx_param_setup(7, 0, RX2_HZ), b"\x05\x03"),  # refused
        (b"\x08\x01", b"\x08"),  # as it was before
        (b"\x06", b"\x06\xff\x07"),
        (link_adr(5, 0, 7), b"\x03\x07"),
    ],
)
def test_answers_that_wait_survive_a_power_cut(lab: Lab, asked: bytes, answer: bytes) -> None:
    """An answer that was not sent yet is sent after a power cut, though nothing changed by what it answers."""
    lab.uplink(rx1=lab.down(fopts=asked))
    lab.restart(power_cut=True)
    assert lab.uplink().up.fopts == answer


def test_command_is_not_obeyed_again_after_a_power_cut(lab: Lab) -> None:
    """A downlink with commands that is played to the device again after a power cut is refused."""
    recorded = lab.down(fopts=b"\x06")
    lab.uplink(rx1=recorded)
    lab.restart(power_cut=True)
    assert lab.uplink(rx1=recorded).outcome.window == 0


def test_new_windows_survive_a_power_cut(lab: Lab) -> None:
    """Windows that were acknowledged are the same after a power cut."""
    lab.uplink(rx1=lab.down(fopts=b"\x08\x05" + rx_param_setup(3, 2, 868300000)))
    lab.rx1_delay_s, lab.rx1_dr_offset, lab.rx2_dr, lab.rx2_hz = 5, 3, 2, 868300000
    lab.uplink()
    lab.restart(power_cut=True)
    assert lab.uplink(rx2=lab.down(port=1, payload=b"x")).outcome.window == 2


@pytest.mark.parametrize("value", [0x00, 0x35, 0xFF])
def test_tx_param_setup_is_ignored(lab: Lab, value: int) -> None:
    """EU868 has no TxParamSetupReq: no answer, nothing changed, and the commands behind it are carried out."""
    assert lab.command(bytes([9, value]) + b"\x06") == b"\x06\xff\x07"
    assert lab.uplink(bytes(242)).up.sent.eirp_dbm == 16


# --- DevStatusReq


@pytest.mark.parametrize(
    ("snr", "margin"), [(7.25, 7), (0.0, 0), (-1.0, 63), (-20.0, 44), (-32.0, 32), (31.0, 31), (40.0, 31), (-50.0, 32)]
)
def test_dev_status_margin(lab: Lab, snr: float, margin: int) -> None:
    """DevStatusAns has the SNR of the frame that asked, as six bits with sign."""
    lab.air.tamper = lambda down: [replace(down, snr=snr)]
    lab.uplink(rx1=lab.down(fopts=b"\x06"))
    lab.air.tamper = lambda down: [replace(down, snr=3.0)]
    assert lab.uplink().up.fopts == bytes([6, 255, margin])


@pytest.mark.parametrize("battery", [0, 1, 128, 254, 255])
def test_dev_status_battery(fresh: Lab, battery: int) -> None:
    """DevStatusAns has the battery: 0 external, 1 to 254, 255 not measured."""
    fresh.new(battery=battery)
    fresh.join()
    fresh.uplink(rx1=fresh.down(fopts=b"\x06"))
    assert fresh.uplink().up.fopts == bytes([6, battery, 7])


# --- LinkCheckReq, DeviceTimeReq


def test_link_check(lab: Lab) -> None:
    """LinkCheckReq goes out once when it is asked for, and the answer is handed on."""
    lab.order("request", cid=LINK_CHECK)
    exchange = lab.uplink(rx1=lab.down(fopts=b"\x02\x14\x03"))
    assert exchange.up.fopts == b"\x02"
    assert exchange.outcome.link_check == [20, 3]
    exchange = lab.uplink()
    assert exchange.up.fopts == b""
    assert exchange.outcome.link_check is None


def test_device_time(lab: Lab) -> None:
    """DeviceTimeReq goes out once when it is asked for, and GPS seconds and 1/256 s are handed on."""
    lab.order("request", cid=DEVICE_TIME)
    seconds = 1_400_000_000
    exchange = lab.uplink(rx2=lab.down(fopts=b"\x0d" + seconds.to_bytes(4, "little") + b"\x80"))
    assert exchange.up.fopts == b"\x0d"
    assert exchange.outcome.device_time == [seconds, 128]
    assert lab.uplink().up.fopts == b""


def test_requests_without_an_answer(lab: Lab) -> None:
    """Without an answer there is none to hand on, and the request is not repeated by itself."""
    for cid in (LINK_CHECK, DEVICE_TIME):
        lab.order("request", cid=cid)
    exchange = lab.uplink()
    assert sorted(exchange.up.fopts) == [LINK_CHECK, DEVICE_TIME]
    assert exchange.outcome.link_check is None
    assert exchange.outcome.device_time is None
    assert lab.uplink().up.fopts == b""


def test_answers_that_nobody_asked_for(lab: Lab) -> None:
    """LinkCheckAns and DeviceTimeAns without a request are passed over, and the commands behind them are not."""
    exchange = lab.uplink(rx1=lab.down(fopts=b"\x02\x14\x03" + b"\x0d\x00\x00\x00\x40\x00" + b"\x06"))
    assert exchange.outcome.link_check is None
    assert exchange.outcome.device_time is None
    assert lab.uplink().up.fopts == b"\x06\xff\x07"


# --- blocks


@pytest.mark.parametrize("cid", [0x00, 0x01, 0x0B, 0x0C, 0x0E, 0x10, 0x11, 0x13, 0x20, 0x80, 0xFF])
def test_unknown_command_ends_the_block(lab: Lab, cid: int) -> None:
    """Commands before an unknown CID are carried out and answered; what follows it is not."""
    assert lab.command(b"\x06" + bytes([cid]) + b"\x08\x05\x06") == b"\x06\xff\x07"
    assert lab.session().rx1_delay_s == 1


@pytest.mark.parametrize(
    "cut", [b"\x03\x50\x07\x00", b"\x05\x00\x00", b"\x08", b"\x07\x03\x01\x02", b"\x0a\x00", b"\x04"]
)
def test_truncated_command_is_not_carried_out(lab: Lab, cut: bytes) -> None:
    """A command that the frame cuts off is neither carried out nor answered."""
    before = lab.session()
    assert lab.command(b"\x06" + cut) == b"\x06\xff\x07"
    after = lab.session()
    assert (after.channels, after.rx1_delay_s, after.rx2_dr, after.channel_mask) == (
        before.channels, before.rx1_delay_s, before.rx2_dr, before.channel_mask,
    )  # fmt: skip


def test_answers_stand_in_the_order_of_the_commands(lab: Lab) -> None:
    """Answers come in the order of the requests."""
    assert lab.command(b"\x04\x00" + b"\x06" + link_adr(5, 0, 7) + b"\x06") == b"\x04\x06\xff\x07\x03\x07\x06\xff\x07"


def test_more_answers_than_fopts_holds(lab: Lab) -> None:
    """Answers beyond 15 bytes wait for the next uplinks: each request is answered once, in order."""
    lab.uplink(rx1=lab.down(port=0, payload=b"\x06" * 8 + b"\x04\x00"))
    got = b""
    for _ in range(4):
        exchange = lab.uplink()
        got += b"".join(up.payload for up in exchange.ahead[:1]) + exchange.up.fopts
    assert got == b"\x06\xff\x07" * 8 + b"\x04"


def test_commands_in_fopts_beside_application_data(lab: Lab) -> None:
    """A downlink may carry commands in FOpts and a payload for the application."""
    exchange = lab.uplink(rx1=lab.down(fopts=b"\x06", port=8, payload=b"data"))
    assert exchange.downlinks == [(8, b"data", 0)]
    assert lab.uplink().up.fopts == b"\x06\xff\x07"


def test_commands_of_a_bad_frame_are_not_carried_out(lab: Lab) -> None:
    """Commands in a frame whose MIC is wrong change nothing."""
    down = lab.down(fopts=b"\x08\x05" + link_adr(0, 7, 1))
    lab.uplink(rx1=down[:-1] + bytes([down[-1] ^ 1]))
    assert lab.uplink().up.fopts == b""


def test_commands_of_a_downlink_that_is_lost_in_rx1_and_comes_in_rx2(lab: Lab) -> None:
    """Commands are obeyed in RX2 as in RX1."""
    lab.uplink(rx2=lab.down(fopts=b"\x06\x04\x00"))
    assert lab.uplink().up.fopts == b"\x06\xff\x07\x04"
