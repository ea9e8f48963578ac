"""What a node must remember of its network between two exchanges, and the record it is kept in.

The record survives deep sleep and power cuts; where it is kept is the node's affair. It is versioned, checked by CRC32
and bound to the key it came from, so that a foreign, old or damaged record is never taken for a session.
"""

import struct
from binascii import crc32

_MAGIC = b"FS\x01"  # the last byte is the version of the format

# dev_addr, net_id, fcnt_up, fcnt_down + 1, rx2_freq_hz, channel_mask, channels_used,
# rx1_delay_s, rx1_dr_offset, rx2_dr, dr, tx_power, nb_trans, flags, len(answers)
_FIXED = "<IIQQIHHBBBBBBBB"
_FIXED_SIZE = struct.calcsize(_FIXED)
_CHANNELS = 16
_CHANNEL_SIZE = 4  # frequency in steps of 100 Hz, 3 bytes as on air; DrRange, 1 byte
_KEYS_AT = len(_MAGIC) + 4
_FIXED_AT = _KEYS_AT + 32
_CHANNELS_AT = _FIXED_AT + _FIXED_SIZE
_ANSWERS_AT = _CHANNELS_AT + _CHANNELS * _CHANNEL_SIZE


class Session:
    """A joined node.

    dev_addr, net_id: int. nwk_skey, app_skey: 16 bytes.
    fcnt_up: the FCntUp of the next uplink, 32 bit. fcnt_down: the last FCntDown accepted, -1 for none.
    rx1_delay_s 1..15, rx1_dr_offset, rx2_dr, rx2_freq_hz: the windows, as JoinAccept or network set them.
    channels: list of 16 frequencies in Hz, 0 for none; channel_drs: bytearray of 16, highest DR << 4 | lowest.
    channel_mask: bit n says channel n is on. channels_used: bit n says n was used in this round of channel hopping.
    dr, tx_power (index): how uplinks are sent. nb_trans: kept for LinkADR, not acted on yet.
    ack_owed: a confirmed downlink waits for the ACK bit of the next uplink.
    answers: MAC answers (bytes) for the next uplink, in order.
    """

    __slots__ = (
        "ack_owed",
        "answers",
        "app_skey",
        "channel_drs",
        "channel_mask",
        "channels",
        "channels_used",
        "dev_addr",
        "dr",
        "fcnt_down",
        "fcnt_up",
        "nb_trans",
        "net_id",
        "nwk_skey",
        "rx1_delay_s",
        "rx1_dr_offset",
        "rx2_dr",
        "rx2_freq_hz",
        "tx_power",
    )

    def __init__(self, dev_addr, net_id, nwk_skey, app_skey, region=None):
        """A fresh session, counters at 0, with the defaults of the region (a module, see eu868)."""
        self.dev_addr = dev_addr
        self.net_id = net_id
        self.nwk_skey = nwk_skey
        self.app_skey = app_skey
        self.fcnt_up = 0
        self.fcnt_down = -1
        self.rx1_delay_s = 1
        self.rx1_dr_offset = 0
        self.rx2_dr = 0
        self.rx2_freq_hz = 0
        self.channels = [0] * _CHANNELS
        self.channel_drs = bytearray(_CHANNELS)
        self.channel_mask = 0
        self.channels_used = 0
        self.dr = 0
        self.tx_power = 0
        self.nb_trans = 1
        self.ack_owed = False
        self.answers = b""
        if region:
            self.rx1_delay_s = region.RX1_DELAY_S
            self.rx2_dr = region.RX2_DR
            self.rx2_freq_hz = region.RX2_FREQ_HZ
            self.dr = region.JOIN_DR
            for index, freq_hz in enumerate(region.DEFAULT_CHANNELS_HZ):
                self.set_channel(index, freq_hz, region.DR_RANGE)

    def set_channel(self, index, freq_hz, dr_range):
        """Define channel `index` and switch it on; freq_hz 0 removes it."""
        self.channels[index] = freq_hz
        self.channel_drs[index] = dr_range
        if freq_hz:
            self.channel_mask |= 1 << index
        else:
            self.channel_mask &= ~(1 << index)

    def pack(self, binding):
        """The session as a record, below 200 bytes. binding: 4 bytes that only this node's key gives."""
        body = bytearray(_ANSWERS_AT)
        body[: len(_MAGIC)] = _MAGIC
        body[len(_MAGIC) : _KEYS_AT] = binding
        body[_KEYS_AT : _KEYS_AT + 16] = self.nwk_skey
        body[_KEYS_AT + 16 : _FIXED_AT] = self.app_skey
        struct.pack_into(
            _FIXED,
            body,
            _FIXED_AT,
            self.dev_addr,
            self.net_id,
            self.fcnt_up,
            self.fcnt_down + 1,
            self.rx2_freq_hz,
            self.channel_mask,
            self.channels_used,
            self.rx1_delay_s,
            self.rx1_dr_offset,
            self.rx2_dr,
            self.dr,
            self.tx_power,
            self.nb_trans,
            1 if self.ack_owed else 0,
            len(self.answers),
        )
        for index in range(_CHANNELS):
            struct.pack_into(
                "<I",
                body,
                _CHANNELS_AT + _CHANNEL_SIZE * index,
                self.channels[index] // 100 | self.channel_drs[index] << 24,
            )
        body += self.answers
        body += struct.pack("<I", crc32(body))
        return bytes(body)

    @classmethod
    def unpack(cls, data, binding):
        """The session in a record, or None when it is damaged, of another version, or of another key.

        data: bytes or None; bytes after the record are ignored (a store may be larger than what it holds).
        """
        if not data or len(data) < _ANSWERS_AT + 4:
            return None
        data = bytes(data)
        if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : _KEYS_AT] != bytes(binding):
            return None
        fixed = struct.unpack_from(_FIXED, data, _FIXED_AT)
        end = _ANSWERS_AT + fixed[14]
        if len(data) < end + 4 or struct.unpack_from("<I", data, end)[0] != crc32(data[:end]):
            return None
        session = cls(fixed[0], fixed[1], data[_KEYS_AT : _KEYS_AT + 16], data[_KEYS_AT + 16 : _FIXED_AT])
        session.fcnt_up = fixed[2]
        session.fcnt_down = fixed[3] - 1
        session.rx2_freq_hz = fixed[4]
        session.channel_mask = fixed[5]
        session.channels_used = fixed[6]
        session.rx1_delay_s = fixed[7]
        session.rx1_dr_offset = fixed[8]
        session.rx2_dr = fixed[9]
        session.dr = fixed[10]
        session.tx_power = fixed[11]
        session.nb_trans = fixed[12]
        session.ack_owed = fixed[13] == 1
        session.answers = data[_ANSWERS_AT:end]
        for index in range(_CHANNELS):
            word = struct.unpack_from("<I", data, _CHANNELS_AT + _CHANNEL_SIZE * index)[0]
            session.channels[index] = (word & 0xFFFFFF) * 100
            session.channel_drs[index] = word >> 24
        return session
