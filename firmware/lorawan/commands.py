"""MAC commands (TS001-1.0.4 section 5): the table of sizes, and what this device does with each.

Honoured now: RXParamSetup, DevStatus, RXTimingSetup. Every other command of the table is parsed and passed over
unanswered, which a network reads as "not done": LinkADR, DutyCycle, NewChannel, DlChannel (our uplinks do not set the
ADR bit), and LinkCheckAns, DeviceTimeAns, which this device does not ask for. TxParamSetup is never answered in EU868
(RP002-1.0.4 2.4.3). To honour one more, write its handler and enter it in _HANDLERS.
"""

from micropython import const

from lorawan.frames import MAX_FOPTS

LINK_CHECK = const(0x02)
LINK_ADR = const(0x03)
DUTY_CYCLE = const(0x04)
RX_PARAM_SETUP = const(0x05)
DEV_STATUS = const(0x06)
NEW_CHANNEL = const(0x07)
RX_TIMING_SETUP = const(0x08)
TX_PARAM_SETUP = const(0x09)
DL_CHANNEL = const(0x0A)
DEVICE_TIME = const(0x0D)

# CID: bytes that follow it, on the way down and on the way up.
DOWN_SIZES = {
    LINK_CHECK: 2,
    LINK_ADR: 4,
    DUTY_CYCLE: 1,
    RX_PARAM_SETUP: 4,
    DEV_STATUS: 0,
    NEW_CHANNEL: 5,
    RX_TIMING_SETUP: 1,
    TX_PARAM_SETUP: 1,
    DL_CHANNEL: 4,
    DEVICE_TIME: 5,
}
UP_SIZES = {
    LINK_CHECK: 0,
    LINK_ADR: 1,
    DUTY_CYCLE: 0,
    RX_PARAM_SETUP: 1,
    DEV_STATUS: 2,
    NEW_CHANNEL: 1,
    RX_TIMING_SETUP: 0,
    TX_PARAM_SETUP: 0,
    DL_CHANNEL: 1,
    DEVICE_TIME: 0,
}

# Their answers are repeated in every uplink until a downlink comes.
STICKY = (RX_PARAM_SETUP, RX_TIMING_SETUP, DL_CHANNEL)

# What may wait to be sent, in bytes: more than a sensible network asks for at once, and the record holds it.
_MAX_ANSWERS = const(60)

BATTERY_NOT_MEASURED = const(255)


def parse(block, sizes):
    """The commands of a block as a list of (CID, its bytes). An unknown CID or a cut-off command ends it."""
    found = []
    at = 0
    while at < len(block):
        size = sizes.get(block[at], 255)
        end = at + 1 + size
        if end > len(block):  # 255 is longer than any block: unknown commands cannot be skipped
            break
        found.append((block[at], block[at + 1 : end]))
        at = end
    return found


def fitting(answers, room):
    """As many whole answers as fit into `room` bytes and into FOpts."""
    return _joined(parse(answers, UP_SIZES), min(room, MAX_FOPTS))


def sticky(answers):
    """Those answers that are repeated until a downlink comes."""
    return _joined([pair for pair in parse(answers, UP_SIZES) if pair[0] in STICKY], len(answers))


def _joined(pairs, room):
    out = b""
    for cid, data in pairs:
        if len(out) + 1 + len(data) > room:
            break
        out += bytes((cid,)) + data
    return out


def apply(session, region, block, snr, battery):
    """Carry out the commands of a downlink whose MIC was good; returns the answers for the next uplink, in order.

    snr: of that downlink, dB; battery: 0 external, 1..254, 255 not measured. A command whose answer would make the
    answers longer than 60 bytes ends the block, before it is carried out: the network sees it unanswered.
    """
    answers = b""
    for cid, data in parse(block, DOWN_SIZES):
        handler = _HANDLERS.get(cid)
        if handler:
            if len(answers) + 1 + UP_SIZES[cid] > _MAX_ANSWERS:
                break
            answers += bytes((cid,)) + handler(session, region, data, snr, battery)
    return answers


def _rx_param_setup(session, region, data, snr, battery):
    """All or nothing (5.4): bit 0 channel, bit 1 RX2 data rate, bit 2 RX1DROffset."""
    offset = data[0] >> 4 & 0x07
    dr = data[0] & 0x0F
    freq_hz = int.from_bytes(data[1:4], "little") * 100
    status = (
        (1 if region.can_listen(freq_hz) else 0)
        | (2 if region.can_receive(dr) else 0)
        | (4 if offset < len(region.RX1_DR[0]) else 0)
    )
    if status == 7:
        session.rx1_dr_offset = offset
        session.rx2_dr = dr
        session.rx2_freq_hz = freq_hz
    return bytes((status,))


def _dev_status(session, region, data, snr, battery):
    """Margin: SNR of the frame that asked, rounded, 6 bits signed (5.5)."""
    margin = int(snr + 0.5) if snr >= 0 else -int(0.5 - snr)
    return bytes((battery, max(-32, min(31, margin)) & 0x3F))


def _rx_timing_setup(session, region, data, snr, battery):
    """Delay 0 means 1 s (5.7)."""
    session.rx1_delay_s = data[0] & 0x0F or 1
    return b""


_HANDLERS = {
    RX_PARAM_SETUP: _rx_param_setup,
    DEV_STATUS: _dev_status,
    RX_TIMING_SETUP: _rx_timing_setup,
}
