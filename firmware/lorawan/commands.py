"""MAC commands of class A (TS001-1.0.4 section 5), both ways: their sizes, and what this device does with each.

Where the specification leaves a choice:

- An RFU ChMaskCntl or an undefined channel anywhere in a LinkADRReq block refuses the block; whether a channel is left
  is asked of the block's result. While the mask is refused, the data rate is judged by the channels that are on.
- LinkADRReq with ADR off (Semtech Learn, "Implementing ADR"): the mask alone is taken, and only if the data rate in use
  stays possible; the answer is ChannelMaskACK and nothing else.
- A data rate counts as possible when an enabled channel carries it, the dwell time leaves it room, and RX1 after it can
  be received. LinkADRReq and RXParamSetupReq cannot make it impossible: they are refused.
- NewChannelReq and TxParamSetupReq can, as they have no answer for it (see `settle`): the nearest slower data rate that
  is possible takes its place, else the nearest faster one, else the default channels are switched on again, as at the
  end of the ADR backoff. The network sees what was chosen by the next uplink.
"""

from micropython import const

from lorawan import region as plan
from lorawan.frames import MAX_FOPTS

LINK_CHECK = const(0x02)
_LINK_ADR = const(0x03)
_DUTY_CYCLE = const(0x04)
_RX_PARAM_SETUP = const(0x05)
_DEV_STATUS = const(0x06)
_NEW_CHANNEL = const(0x07)
_RX_TIMING_SETUP = const(0x08)
_TX_PARAM_SETUP = const(0x09)
_DL_CHANNEL = const(0x0A)
DEVICE_TIME = const(0x0D)

# CID: bytes that follow it, on the way down and on the way up.
DOWN_SIZES = {
    LINK_CHECK: 2,
    _LINK_ADR: 4,
    _DUTY_CYCLE: 1,
    _RX_PARAM_SETUP: 4,
    _DEV_STATUS: 0,
    _NEW_CHANNEL: 5,
    _RX_TIMING_SETUP: 1,
    _TX_PARAM_SETUP: 1,
    _DL_CHANNEL: 4,
    DEVICE_TIME: 5,
}
UP_SIZES = {
    LINK_CHECK: 0,
    _LINK_ADR: 1,
    _DUTY_CYCLE: 0,
    _RX_PARAM_SETUP: 1,
    _DEV_STATUS: 2,
    _NEW_CHANNEL: 1,
    _RX_TIMING_SETUP: 0,
    _TX_PARAM_SETUP: 0,
    _DL_CHANNEL: 1,
    DEVICE_TIME: 0,
}

# Their answers are repeated in every uplink until a downlink comes.
STICKY = (_RX_PARAM_SETUP, _RX_TIMING_SETUP, _TX_PARAM_SETUP, _DL_CHANNEL)

# What may wait to be sent, in bytes: more than a sensible network asks for at once, and the record holds it.
_MAX_ANSWERS = const(60)

_KEEP = const(15)  # DataRate or TXPower of LinkADRReq
_MAX_EIRPS = b"\x08\x0a\x0c\x0d\x0e\x10\x12\x14\x15\x18\x1a\x1b\x1d\x1e\x21\x24"  # dBm, TxParamSetupReq

BATTERY_NOT_MEASURED = const(255)


def parse(block, sizes):
    """The commands of a block as a list of (CID, its bytes). An unknown CID or a cut-off command ends it."""
    found = []
    at = 0
    while at < len(block):
        end = at + 1 + sizes.get(block[at], 255)
        if end > len(block):  # 255 is longer than any block: unknown commands cannot be skipped
            break
        found.append((block[at], block[at + 1 : end]))
        at = end
    return found


def fitting(answers, room, most=MAX_FOPTS, kinds=UP_SIZES):
    """As many whole answers as fit into `room` bytes and into FOpts, or into `most`; of `kinds` only."""
    out = b""
    for cid, data in parse(answers, UP_SIZES):
        if cid in kinds:
            if len(out) + 1 + len(data) > min(room, most):
                break
            out += bytes((cid,)) + data
    return out


def sticky(answers):
    """Those answers that are repeated until a downlink comes."""
    return fitting(answers, 255, 255, STICKY)


def apply(session, region, block, snr, battery, adr, outcome):
    """Carry out the commands of a downlink whose MIC was good; returns the answers for the next uplinks, in order.

    snr: of that downlink, dB; battery: 0 external, 1..254, 255 not measured; adr: whether the uplinks' ADR bit is set.
    outcome: takes link_check and device_time where `asked` has their CIDs, or None.
    Sets session.changed when something differs afterwards that must outlive a power cut. Contiguous LinkADRReq are one
    command. A command whose answers would bring what waits to be sent above 60 bytes ends the block before it is
    carried out, as an unknown or cut-off command does: the network sees it unanswered.
    """
    answers = b""
    before = _lasting(session)
    found = parse(block, DOWN_SIZES)
    while found:
        cid, data = found.pop(0)
        count = 1
        while cid == _LINK_ADR and found and found[0][0] == _LINK_ADR:
            data += found.pop(0)[1]
            count += 1
        if len(session.answers) + len(answers) + count * (1 + UP_SIZES[cid]) > _MAX_ANSWERS:
            break
        answer = _HANDLERS[cid](session, region, data, (snr, battery, adr, outcome))
        if answer is not None:
            answers += (bytes((cid,)) + answer) * count
    if _lasting(session) != before:
        session.changed = True
    return answers


def _lasting(session):
    return (
        session.rx1_delay_s,
        session.rx1_dr_offset,
        session.rx2_dr,
        session.rx2_freq_hz,
        session.channels[:],
        bytes(session.channel_drs),
        session.dl_channels[:],
        session.channel_mask,
        session.max_duty,
        session.dwell,
        session.max_eirp_dbm,
    )


def carriers(session, dr, mask):
    """Those of the channels in `mask` that carry data rate `dr`, as a bit mask."""
    found = 0
    bit = 1
    for drs in session.channel_drs:
        if mask & bit and drs & 0x0F <= dr <= drs >> 4:
            found |= bit
        bit <<= 1
        if bit > mask:
            break
    return found


def usable(session, region, dr, mask):
    """Whether uplinks at `dr` are possible on one of the channels in `mask`."""
    return bool(
        carriers(session, dr, mask)
        and plan.can_send(region, dr)
        and plan.max_payload(region, dr, session.dwell)
        and plan.can_receive(region, plan.rx1_dr(region, dr, session.rx1_dr_offset, session.dwell))
    )


def settle(session, region):
    """See to it that an uplink is possible after channels, dwell time or RX1DROffset changed.

    The data rate changes before the channels do: a mask says which frequencies the network wants.
    """
    mask = session.channel_mask
    for more in (0, (1 << len(region.DEFAULT_CHANNELS_HZ)) - 1):
        for dr in range(session.dr, -len(region.DATA_RATES), -1):  # down to 0, and up again as -1, -2 …
            if usable(session, region, abs(dr), mask | more):
                session.dr = abs(dr)
                session.channel_mask = mask | more
                return


def _freq_hz(data):
    return int.from_bytes(data[1:4], "little") * 100


def _asked(session, region, data, context):
    """LinkCheckAns and DeviceTimeAns, told by their lengths; one that nobody asked for is nothing (5.1, 5.9)."""
    outcome = context[3]
    if outcome:
        if len(data) == 2:
            if LINK_CHECK in outcome.asked:
                outcome.link_check = (data[0], data[1])
        elif DEVICE_TIME in outcome.asked:
            outcome.device_time = (int.from_bytes(data[:4], "little"), data[4])


def _link_adr(session, region, data, context):
    """A whole block, 4 bytes each (5.2): bit 0 channel mask, bit 1 data rate, bit 2 power; one status for all."""
    defined = 0
    for index, freq_hz in enumerate(session.channels):
        if freq_hz:
            defined |= 1 << index
    status = 1
    mask = 0
    for at in range(0, len(data), 4):
        control = data[at + 3] & 0x70
        mask = defined if control == 0x60 else data[at + 1] | data[at + 2] << 8
        if control not in (0, 0x60) or mask & ~defined:
            status = 0
    if not (status and mask):
        status = 0
        mask = session.channel_mask
    adr = context[2]
    if not adr:
        data = bytes((0xFF, 0, 0, session.nb_trans))  # everything as it is
    dr = data[-4] >> 4
    power = data[-4] & 0x0F
    if dr == _KEEP:
        dr = session.dr
    if power == _KEEP:
        power = session.tx_power
    status |= usable(session, region, dr, mask) << 1 | (power <= region.MAX_TX_POWER) << 2
    if status == 7:
        session.channel_mask = mask
        session.dr = dr
        session.tx_power = power
        session.nb_trans = data[-1] & 0x0F or 1
    return bytes((status if adr else status // 7,))


def _duty_cycle(session, region, data, context):
    session.max_duty = data[0] & 0x0F
    return b""


def _rx_param(session, region, data, context):
    """All or nothing (5.4): bit 0 channel, bit 1 RX2 data rate, bit 2 RX1DROffset."""
    offset = data[0] >> 4 & 0x07
    dr = data[0] & 0x0F
    freq_hz = _freq_hz(data)
    status = (
        plan.can_listen(region, freq_hz)
        | plan.can_receive(region, dr) << 1
        | (
            offset < len(region.RX1_DR[0])
            and plan.can_receive(region, plan.rx1_dr(region, session.dr, offset, session.dwell))
        )
        << 2
    )
    if status == 7:
        session.rx1_dr_offset = offset
        session.rx2_dr = dr
        session.rx2_freq_hz = freq_hz
    return bytes((status,))


def _dev_status(session, region, data, context):
    """Margin: SNR of the frame that asked, rounded, 6 bits signed (5.5)."""
    return bytes((context[1], max(-32, min(31, round(context[0]))) & 0x3F))


def _new_channel(session, region, data, context):
    """All or nothing (5.6): bit 0 frequency, bit 1 data rates. Default channels and those from 16 on have neither.

    The frequency is refused, too, where the widest of the data rates would reach over the edge of the band.
    """
    index = data[0]
    freq_hz = _freq_hz(data)
    drs = data[4] if freq_hz else 0
    if not len(region.DEFAULT_CHANNELS_HZ) <= index < len(session.channels):
        return b"\0"
    status = 0
    bw_hz = 125000
    if plan.dr_range_ok(region, drs):
        status = 2
        bw_hz = region.DATA_RATES[drs >> 4][1]
    if not freq_hz or plan.sub_band(region, freq_hz, bw_hz) >= 0:
        status |= 1
    if status == 3:
        session.set_channel(index, freq_hz, drs)
        settle(session, region)
    return bytes((status,))


def _rx_timing(session, region, data, context):
    """Delay 0 means 1 s (5.7)."""
    session.rx1_delay_s = data[0] & 0x0F or 1
    return b""


def _tx_param(session, region, data, context):
    """Where the region does not have it, it is neither carried out nor answered (5.8). The lower EIRP holds."""
    if not region.TX_PARAM_SETUP:
        return None
    session.dwell = data[0] >> 4 & 0x03
    session.max_eirp_dbm = min(_MAX_EIRPS[data[0] & 0x0F], region.MAX_EIRP_DBM)
    settle(session, region)
    return b""


def _dl_channel(session, region, data, context):
    """All or nothing (5.6): bit 0 frequency, bit 1 the uplink channel exists."""
    index = data[0]
    freq_hz = _freq_hz(data)
    status = plan.can_listen(region, freq_hz) | (index < len(session.channels) and session.channels[index] > 0) << 1
    if status == 3:
        session.dl_channels[index] = freq_hz
    return bytes((status,))


_HANDLERS = {
    LINK_CHECK: _asked,
    _LINK_ADR: _link_adr,
    _DUTY_CYCLE: _duty_cycle,
    _RX_PARAM_SETUP: _rx_param,
    _DEV_STATUS: _dev_status,
    _NEW_CHANNEL: _new_channel,
    _RX_TIMING_SETUP: _rx_timing,
    _TX_PARAM_SETUP: _tx_param,
    _DL_CHANNEL: _dl_channel,
    DEVICE_TIME: _asked,
}
