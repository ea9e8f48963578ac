"""The MAC commands of class A as bytes: what nodes say, read; what the network says, built (TS001-1.0.4 section 5).

A command has no length of its own: whoever does not know a CID cannot find the next one, so an unknown or cut-off
command ends the block. What stood before it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from typing import NamedTuple

LINK_CHECK = 0x02
LINK_ADR = 0x03
DUTY_CYCLE = 0x04
RX_PARAM_SETUP = 0x05
DEV_STATUS = 0x06
NEW_CHANNEL = 0x07
RX_TIMING_SETUP = 0x08
TX_PARAM_SETUP = 0x09
DL_CHANNEL = 0x0A
DEVICE_TIME = 0x0D

MAX_FOPTS = 15  # bytes of MAC commands beside a payload (4.3.1.6)

GPS_EPOCH_S = 315_964_800  # 1980-01-06T00:00:00Z as Unix time
GPS_LEAP_S = 18  # GPS is ahead of UTC by this since 2017-01-01 (IERS Bulletin C 52); no leap second since


class LinkCheckReq(NamedTuple):
    """5.1: how well am I heard?"""

    cid: int


class LinkAdrAns(NamedTuple):
    """5.2: which parts of a LinkADRReq were possible; only all three together were taken."""

    cid: int
    ch_mask_ok: bool
    dr_ok: bool
    power_ok: bool


class DutyCycleAns(NamedTuple):
    """5.3."""

    cid: int


class RxParamSetupAns(NamedTuple):
    """5.4: all or nothing; repeated in every uplink until a downlink comes."""

    cid: int
    freq_ok: bool
    rx2_dr_ok: bool
    rx1_dr_offset_ok: bool


class DevStatusAns(NamedTuple):
    """5.5: `battery` 0 external supply, 1..254 of 254, 255 unknown; `margin_db` SNR of the request, -32..31."""

    cid: int
    battery: int
    margin_db: int


class NewChannelAns(NamedTuple):
    """5.6."""

    cid: int
    freq_ok: bool
    dr_range_ok: bool


class RxTimingSetupAns(NamedTuple):
    """5.7; repeated in every uplink until a downlink comes."""

    cid: int


class TxParamSetupAns(NamedTuple):
    """5.8; EU868 does not have it."""

    cid: int


class DlChannelAns(NamedTuple):
    """5.6; repeated in every uplink until a downlink comes."""

    cid: int
    freq_ok: bool
    uplink_freq_exists: bool


class DeviceTimeReq(NamedTuple):
    """5.9: what time was it at the end of this uplink?"""

    cid: int


Command = (
    LinkCheckReq
    | LinkAdrAns
    | DutyCycleAns
    | RxParamSetupAns
    | DevStatusAns
    | NewChannelAns
    | RxTimingSetupAns
    | TxParamSetupAns
    | DlChannelAns
    | DeviceTimeReq
)


def _dev_status(cid: int, data: bytes) -> Command:
    margin = data[1] & 0x3F  # 6 bits, signed
    return DevStatusAns(cid, data[0], margin - 64 if margin > 31 else margin)


# CID: bytes that follow it on the way up, and what is made of them.
UP: dict[int, tuple[int, Callable[[int, bytes], Command]]] = {
    LINK_CHECK: (0, lambda cid, _: LinkCheckReq(cid)),
    LINK_ADR: (1, lambda cid, data: LinkAdrAns(cid, bool(data[0] & 1), bool(data[0] & 2), bool(data[0] & 4))),
    DUTY_CYCLE: (0, lambda cid, _: DutyCycleAns(cid)),
    RX_PARAM_SETUP: (
        1,
        lambda cid, data: RxParamSetupAns(cid, bool(data[0] & 1), bool(data[0] & 2), bool(data[0] & 4)),
    ),
    DEV_STATUS: (2, _dev_status),
    NEW_CHANNEL: (1, lambda cid, data: NewChannelAns(cid, bool(data[0] & 1), bool(data[0] & 2))),
    RX_TIMING_SETUP: (0, lambda cid, _: RxTimingSetupAns(cid)),
    TX_PARAM_SETUP: (0, lambda cid, _: TxParamSetupAns(cid)),
    DL_CHANNEL: (1, lambda cid, data: DlChannelAns(cid, bool(data[0] & 1), bool(data[0] & 2))),
    DEVICE_TIME: (0, lambda cid, _: DeviceTimeReq(cid)),
}


def parse_up(data: bytes) -> tuple[list[Command], bool]:
    """The commands of a node's block in their order, and whether a rest could not be understood. Never raises."""
    commands: list[Command] = []
    at, end = 0, len(data)
    while at < end:
        known = UP.get(data[at])
        if known is None or at + known[0] >= end:
            return commands, True
        size, make = known
        commands.append(make(data[at], data[at + 1 : at + 1 + size]))
        at += 1 + size
    return commands, False


# The network's commands. All raise ValueError for a number that its field cannot hold.


def link_check_ans(margin: int, count: int) -> bytes:
    """5.1. `margin`: dB above the demodulation floor, 0..254; `count`: gateways that heard the request, 1..255."""
    return bytes((LINK_CHECK, _in(0, margin, 254), _in(1, count, 255)))


def link_adr_req(dr: int, tx_power: int, ch_mask: int, ch_mask_cntl: int, nb_trans: int) -> bytes:
    """5.2. `dr` and `tx_power` 0..15 (15: keep), `ch_mask` 16 bits, `nb_trans` 0..15 (0: keep the default, 1)."""
    return (
        bytes((LINK_ADR, _in(0, dr, 15) << 4 | _in(0, tx_power, 15)))
        + _in(0, ch_mask, 0xFFFF).to_bytes(2, "little")
        + bytes((_in(0, ch_mask_cntl, 7) << 4 | _in(0, nb_trans, 15),))
    )


def duty_cycle_req(max_duty_cycle: int) -> bytes:
    """5.3. At most 1/2^n of the time on air, n 0..15."""
    return bytes((DUTY_CYCLE, _in(0, max_duty_cycle, 15)))


def rx_param_setup_req(offset: int, rx2_dr: int, freq_hz: int) -> bytes:
    """5.4. RX1DROffset 0..7, data rate and frequency of RX2."""
    return bytes((RX_PARAM_SETUP, _in(0, offset, 7) << 4 | _in(0, rx2_dr, 15))) + _freq(freq_hz)


def dev_status_req() -> bytes:
    """5.5."""
    return bytes((DEV_STATUS,))


def new_channel_req(index: int, freq_hz: int, min_dr: int = 0, max_dr: int = 5) -> bytes:
    """5.6. `freq_hz` 0 removes the channel."""
    return (
        bytes((NEW_CHANNEL, _in(0, index, 255)))
        + _freq(freq_hz)
        + bytes((_in(0, max_dr, 15) << 4 | _in(0, min_dr, 15),))
    )


def rx_timing_setup_req(delay: int) -> bytes:
    """5.7. RX1 opens `delay` seconds after the uplink, 1..15."""
    return bytes((RX_TIMING_SETUP, _in(1, delay, 15)))


def dl_channel_req(index: int, freq_hz: int) -> bytes:
    """5.6. RX1 after an uplink on channel `index` is at another frequency."""
    return bytes((DL_CHANNEL, _in(0, index, 255))) + _freq(freq_hz)


def device_time_ans(unix_s: float, leap_s: int = GPS_LEAP_S) -> bytes:
    """5.9. The end of the uplink as GPS time: seconds since its epoch (32 bits) and 1/256 s. `unix_s`: Unix time."""
    ticks = floor((unix_s - GPS_EPOCH_S + leap_s) * 256)
    return bytes((DEVICE_TIME,)) + (ticks >> 8 & 0xFFFFFFFF).to_bytes(4, "little") + bytes((ticks & 0xFF,))


def _freq(freq_hz: int) -> bytes:
    """Three bytes, in steps of 100 Hz."""
    if freq_hz % 100:
        raise ValueError(f"frequencies go in steps of 100 Hz, not {freq_hz}")
    return _in(0, freq_hz // 100, 0xFFFFFF).to_bytes(3, "little")


def _in(low: int, value: int, high: int) -> int:
    if not low <= value <= high:
        raise ValueError(f"must be {low}..{high}, not {value}")
    return value
