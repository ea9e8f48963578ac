"""A session, the commands that a network gives it, and all that they may change; on both interpreters."""

from lorawan import commands, eu868
from lorawan.session import Session

KEY = bytes(16)
USUAL_HZ = (867100000, 867300000, 867500000, 867700000, 867900000)  # channels 3 to 7 of most networks


class Asked:
    """An Outcome, as far as commands know one."""

    def __init__(self, *cids):
        self.asked = bytes(cids)
        self.link_check = None
        self.device_time = None


def fresh(region=None, channels=(), dr=None):
    """A session just joined, in EU868 by default. channels: Hz of channels 3 and up, or (index, Hz, DrRange)."""
    region = region or eu868
    session = Session(0x26011BDA, 0x13, KEY, KEY, region)
    for number, channel in enumerate(channels):
        if isinstance(channel, int):
            channel = (3 + number, channel, region.DR_RANGE)
        session.set_channel(*channel)
    if dr is not None:
        session.dr = dr
    session.changed = False
    return session


def told(session, block, region=None, adr=True, snr=0.0, battery=255, outcome=None):
    """The answers to a block of commands."""
    return commands.apply(session, region or eu868, bytes(block), snr, battery, adr, outcome)


def state(session):
    """Everything that a command may change."""
    return (
        session.rx1_delay_s,
        session.rx1_dr_offset,
        session.rx2_dr,
        session.rx2_freq_hz,
        list(session.channels),
        bytes(session.channel_drs),
        list(session.dl_channels),
        session.channel_mask,
        session.dr,
        session.tx_power,
        session.nb_trans,
        session.max_duty,
        session.dwell,
        session.max_eirp_dbm,
    )


def on_air(freq_hz):
    """A frequency as in commands: steps of 100 Hz, three bytes."""
    return (freq_hz // 100).to_bytes(3, "little")


def link_adr(dr=15, power=15, mask=0x07, control=0, nb_trans=1):
    return bytes((0x03, dr << 4 | power, mask & 0xFF, mask >> 8, control << 4 | nb_trans))


def rx_param(offset, dr, freq_hz):
    return bytes((0x05, offset << 4 | dr)) + on_air(freq_hz)


def new_channel(index, freq_hz, highest=5, lowest=0):
    return bytes((0x07, index)) + on_air(freq_hz) + bytes((highest << 4 | lowest,))


def dl_channel(index, freq_hz):
    return bytes((0x0A, index)) + on_air(freq_hz)
