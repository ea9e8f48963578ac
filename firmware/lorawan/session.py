"""What a device must remember of its network between two exchanges, and the bytes it is kept in.

The bytes carry neither a checksum nor a binding to a key: the record around them does (see device).
"""

import struct

from micropython import const

_VERSION = const(2)
# dev_addr, net_id, fcnt_up, fcnt_down + 1, rx2_freq_hz, channel_mask, channels_used, adr_ack_cnt
# rx1_delay_s, rx1_dr_offset, rx2_dr, dr, tx_power, nb_trans, max_duty, dwell, max_eirp_dbm, flags,
# number of channels kept, len(answers), len(sticky), version
_FIXED = "<IIQQIHHHBBBBBBBBBBBBBB"
_CHANNELS = const(16)
_CHANNEL_SIZE = const(7)  # frequency and RX1 frequency in steps of 100 Hz, 3 bytes each as on air; DrRange
_MAX_COUNT = const(0xFFFF)


class Session:
    """A joined device.

    dev_addr, net_id: int. nwk_skey, app_skey: 16 bytes.
    fcnt_up: the FCntUp of the next uplink, 32 bit. fcnt_down: the last FCntDown accepted, -1 for none.
    rx1_delay_s 1..15, rx1_dr_offset, rx2_dr, rx2_freq_hz: the windows, as JoinAccept or network set them.
    channels: list of 16 frequencies in Hz, 0 for none; channel_drs: bytearray of 16, highest DR << 4 | lowest;
    dl_channels: list of 16 frequencies of RX1 in Hz, 0 for that of the uplink.
    channel_mask: bit n says channel n is on. channels_used: bit n says n was used in this round of channel hopping.
    dr, tx_power (index), nb_trans 1..15: how uplinks are sent. adr_ack_cnt: uplinks since the last downlink.
    max_duty: n of DutyCycleReq, 0 for no limit. dwell: bit 0 limits uplinks to 400 ms, bit 1 downlinks.
    max_eirp_dbm: what the region or TxParamSetupReq allows.
    ack_owed: a confirmed downlink waits for the ACK bit of the next uplink.
    answers: MAC answers (bytes) not sent yet, in order; waited: they did not fit into the last uplink.
    sticky: answers that were sent and are repeated until a downlink comes.
    changed: something is different that must outlive a power cut before the network hears of it. Not in the record.
    """

    def __init__(self, dev_addr, net_id, nwk_skey, app_skey, region=None):
        """A fresh session, counters at 0, with the defaults of the region (a module, see eu868)."""
        self.dev_addr = dev_addr
        self.net_id = net_id
        self.nwk_skey = nwk_skey
        self.app_skey = app_skey
        self.fcnt_down = -1
        self.channels = [0] * _CHANNELS
        self.dl_channels = [0] * _CHANNELS
        self.channel_drs = bytearray(_CHANNELS)
        self.fcnt_up = self.adr_ack_cnt = self.channel_mask = self.channels_used = 0
        self.rx1_dr_offset = self.rx2_dr = self.rx2_freq_hz = self.dr = self.tx_power = 0
        self.max_duty = self.dwell = self.max_eirp_dbm = 0
        self.rx1_delay_s = self.nb_trans = 1
        self.ack_owed = self.waited = self.changed = False
        self.answers = self.sticky = b""
        if region:
            self.rx1_delay_s = region.RX1_DELAY_S
            self.rx2_dr = region.RX2_DR
            self.rx2_freq_hz = region.RX2_FREQ_HZ
            self.dr = region.JOIN_DR
            self.dwell = region.DWELL
            self.max_eirp_dbm = region.MAX_EIRP_DBM
            for index, freq_hz in enumerate(region.DEFAULT_CHANNELS_HZ):
                self.set_channel(index, freq_hz, region.DR_RANGE)

    def set_channel(self, index, freq_hz, dr_range):
        """Define channel `index` and switch it on, RX1 on its own frequency; freq_hz 0 removes it."""
        self.channels[index] = freq_hz
        self.dl_channels[index] = 0
        self.channel_drs[index] = dr_range
        if freq_hz:
            self.channel_mask |= 1 << index
        else:
            self.channel_mask &= ~(1 << index)

    def pack(self, fcnt_up=None):
        """The session as bytes, at most 300. fcnt_up: what is written in the place of the session's own."""
        kept = max([index + 1 for index in range(_CHANNELS) if self.channels[index]] or [0])
        fixed = struct.pack(
            _FIXED,
            self.dev_addr,
            self.net_id,
            self.fcnt_up if fcnt_up is None else fcnt_up,
            self.fcnt_down + 1,
            self.rx2_freq_hz,
            self.channel_mask,
            self.channels_used,
            min(self.adr_ack_cnt, _MAX_COUNT),
            self.rx1_delay_s,
            self.rx1_dr_offset,
            self.rx2_dr,
            self.dr,
            self.tx_power,
            self.nb_trans,
            self.max_duty,
            self.dwell,
            self.max_eirp_dbm,
            (1 if self.ack_owed else 0) | (2 if self.waited else 0),
            kept,
            len(self.answers),
            len(self.sticky),
            _VERSION,
        )
        channels = bytearray(kept * _CHANNEL_SIZE)
        for index in range(kept):
            word = self.channels[index] // 100 | self.channel_drs[index] << 24
            struct.pack_into("<I", channels, index * _CHANNEL_SIZE, word)
            at = index * _CHANNEL_SIZE + 4
            channels[at : at + 3] = (self.dl_channels[index] // 100).to_bytes(3, "little")
        return fixed + self.nwk_skey + self.app_skey + channels + self.answers + self.sticky

    @classmethod
    def unpack(cls, data):
        """The session in bytes of `pack`, or None when they are of another version or length."""
        at = struct.calcsize(_FIXED)
        if len(data) < at:
            return None
        fixed = struct.unpack_from(_FIXED, data, 0)
        kept, answers, sticky, version = fixed[18:]
        end = at + 32 + kept * _CHANNEL_SIZE
        if version != _VERSION or kept > _CHANNELS or len(data) != end + answers + sticky:
            return None
        session = cls(fixed[0], fixed[1], bytes(data[at : at + 16]), bytes(data[at + 16 : at + 32]))
        session.fcnt_up = fixed[2]
        session.fcnt_down = fixed[3] - 1
        (
            session.rx2_freq_hz,
            session.channel_mask,
            session.channels_used,
            session.adr_ack_cnt,
            session.rx1_delay_s,
            session.rx1_dr_offset,
            session.rx2_dr,
            session.dr,
            session.tx_power,
            session.nb_trans,
            session.max_duty,
            session.dwell,
            session.max_eirp_dbm,
        ) = fixed[4:17]
        session.ack_owed = bool(fixed[17] & 1)
        session.waited = bool(fixed[17] & 2)
        session.answers = bytes(data[end : end + answers])
        session.sticky = bytes(data[end + answers :])
        for index in range(kept):
            at = end - (kept - index) * _CHANNEL_SIZE
            session.channels[index] = int.from_bytes(data[at : at + 3], "little") * 100
            session.channel_drs[index] = data[at + 3]
            session.dl_channels[index] = int.from_bytes(data[at + 4 : at + 7], "little") * 100
        return session
