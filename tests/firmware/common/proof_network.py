"""The network's side of the proofs: one node's server, fast, with cryptography of its own (AES blocks are all it shares
with the firmware). Runs on MicroPython and CPython.

It knows what it has heard on the air and nothing of the node's state. What it asks is drawn at random: a *mood* says
how much it hears, how much it talks and what it asks for, see MOODS.
"""

import struct

from cryptolib import aes

_ZERO = bytes(16)
_TOP = 1 << 128

# What a mood is made of, in percent of uplinks unless it says otherwise.
#   hears: uplinks heard at all; joins: JoinRequests answered; acks: confirmed uplinks acknowledged;
#   reaches: downlinks that reach the node; talks: uplinks followed by a downlink unasked; asks: downlinks with
#   commands; commands: which ones (see Server._command); repeats: NbTrans that LinkADR asks for; slow: percent of
#   LinkADR to DR0..2
MOODS = {
    "normal": (95, 95, 95, 95, 1, 100, "AAAXRC", 1, 10),  # a downlink a day, with two commands on average
    "adr": (95, 95, 95, 95, 5, 60, "A", 1, 30),
    "chatty": (98, 98, 98, 98, 40, 90, "AARCDXTSL", 3, 30),
    "lossy": (50, 50, 40, 40, 10, 50, "ARCDXT", 4, 40),
    "greedy": (90, 90, 60, 80, 20, 90, "AAAAAAD", 15, 80),
    "strict": (90, 90, 90, 90, 20, 90, "DDAC", 15, 40),
    "gone": (0, 0, 0, 0, 0, 0, "", 1, 0),
    "no_join": (90, 0, 90, 90, 5, 50, "A", 2, 30),
}

_FREQS_HZ = (
    867100000,
    867300000,
    867500000,
    867700000,
    867900000,
    868800000,
    863500000,
    869525000,
    869850000,
    864900000,
)


def _shifted(value):
    value <<= 1
    return value ^ (_TOP | 0x87) if value & _TOP else value


def mac4(key, msg):
    """The first 4 bytes of AES-CMAC (RFC 4493)."""
    subkey = _shifted(int.from_bytes(aes(key, 1).encrypt(_ZERO), "big"))
    rest = len(msg) % 16
    if rest:
        msg = msg + b"\x80" + bytes(15 - rest)
        subkey = _shifted(subkey)
    last = int.from_bytes(msg[-16:], "big") ^ subkey
    return aes(key, 2, _ZERO).encrypt(msg[:-16] + last.to_bytes(16, "big"))[-16:-12]


def crypt(key, dev_addr, fcnt, direction, data):
    out = b""
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        block = b"\x01\0\0\0\0" + struct.pack("<BIIBB", direction, dev_addr, fcnt, 0, at // 16 + 1)
        stream = aes(key, 1).encrypt(block)
        out += bytes([part[i] ^ stream[i] for i in range(len(part))])
    return out


def data_mic(key, dev_addr, fcnt, direction, msg):
    head = b"\x49\0\0\0\0" + struct.pack("<BIIBB", direction, dev_addr, fcnt, 0, len(msg))
    return mac4(key, head + msg)


def downlink(keys, dev_addr, fcnt, fopts=b"", port=None, payload=b"", fctrl=0, confirmed=False):
    """A data frame on its way down, with a good MIC. keys: (NwkSKey, AppSKey)."""
    msg = struct.pack("<BIBH", 0xA0 if confirmed else 0x60, dev_addr, fctrl | len(fopts), fcnt & 0xFFFF) + fopts
    if port is not None:
        msg += bytes((port,)) + crypt(keys[1] if port else keys[0], dev_addr, fcnt, 1, payload)
    return msg + data_mic(keys[0], dev_addr, fcnt, 1, msg)


def join_accept(app_key, join_nonce, net_id, dev_addr, dl_settings=0, rx_delay=1, cflist=b""):
    body = join_nonce.to_bytes(3, "little") + net_id.to_bytes(3, "little")
    body += struct.pack("<IBB", dev_addr, dl_settings, rx_delay) + cflist
    return b"\x20" + aes(app_key, 1).decrypt(body + mac4(app_key, b"\x20" + body))


def session_keys(app_key, join_nonce, net_id, dev_nonce):
    tail = join_nonce.to_bytes(3, "little") + net_id.to_bytes(3, "little") + dev_nonce.to_bytes(2, "little") + bytes(7)
    return aes(app_key, 1).encrypt(b"\x01" + tail), aes(app_key, 1).encrypt(b"\x02" + tail)


def freq_bytes(freq_hz):
    return (freq_hz // 100).to_bytes(3, "little")


class Server:
    """dice(n): a random int in 0..n-1. `mood`: a row of MOODS, to be changed at will.

    counts: what was refused, by reason; a DevNonce that does not rise is refused, as servers of 1.0.4 do.
    """

    def __init__(self, app_key, dice, mood="normal", check=True):
        self.app_key = app_key
        self.dice = dice
        self.mood = MOODS[mood]
        self.check = check  # verify MICs; a year of simulation does without
        self.dev_nonce = -1
        self.join_nonce = dice(1000)
        self.sessions = []  # at most two: a node may not have heard the last JoinAccept
        self.refused = {}
        self.accepted = 0
        self.asked = 0  # downlinks with commands

    def hear(self, frame):
        """What a frame is answered with: (window 1 or 2, frame), or None."""
        hears, joins = self.mood[:2]
        if frame[0] == 0:
            return self._join(frame) if self.dice(100) < joins else None
        return self._data(frame) if self.dice(100) < hears else None

    def _refuse(self, reason):
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def _join(self, frame):
        dice = self.dice
        if len(frame) != 23 or mac4(self.app_key, frame[:-4]) != frame[-4:]:
            return self._refuse("JoinRequest with a wrong MIC")
        dev_nonce = frame[17] | frame[18] << 8
        if dev_nonce <= self.dev_nonce:
            return self._refuse("DevNonce that did not rise")
        self.dev_nonce = dev_nonce
        self.join_nonce += 1
        self.accepted += 1
        net_id = 0x13
        dev_addr = 0x26000000 | dice(1 << 24)
        keys = session_keys(self.app_key, self.join_nonce, net_id, dev_nonce)
        self.sessions = self.sessions[-1:] + [Session(dev_addr, keys, dev_nonce)]
        cflist = b""
        if dice(2):
            cflist = b"".join([freq_bytes(_FREQS_HZ[dice(len(_FREQS_HZ))] if dice(9) else 0) for _ in range(5)]) + b"\0"
        dl_settings = dice(6) << 4 | (0, 3)[dice(2)]
        accept = join_accept(self.app_key, self.join_nonce, net_id, dev_addr, dl_settings, (0, 1, 5)[dice(3)], cflist)
        return (1 + dice(2), accept) if dice(100) < self.mood[3] else None

    def _data(self, frame):
        dev_addr = struct.unpack_from("<I", frame, 1)[0]
        for session in self.sessions:
            if session.dev_addr == dev_addr:
                break
        else:
            return self._refuse("unknown DevAddr")
        fcnt = session.rebuild(frame[6] | frame[7] << 8)
        if self.check and data_mic(session.keys[0], dev_addr, fcnt, 0, frame[:-4]) != frame[-4:]:
            return self._refuse("uplink with a wrong MIC")
        if fcnt < session.fcnt_up:
            return self._refuse("FCntUp that went back")
        session.fcnt_up = fcnt
        return self._answer(session, frame)

    def _answer(self, session, frame):
        dice = self.dice
        _, _, acks, reaches, talks, asks, kinds, repeats, slow = self.mood
        confirmed = frame[0] == 0x80
        acked = confirmed and dice(100) < acks
        if not (acked or frame[5] & 0x40 or dice(100) < talks):
            return None
        block = b""
        if kinds and dice(100) < asks:
            self.asked += 1
            for _ in range(1 + dice(3)):
                block += self._command(kinds[dice(len(kinds))], repeats, slow)
        port = None
        payload = b""
        if len(block) > 15 or (block and not dice(4)):
            port, payload, block = 0, block, b""
        elif not dice(4):
            port, payload = 1 + dice(200), bytes(dice(12))
        fcnt = session.fcnt_down
        session.fcnt_down += 1
        fctrl = (0x20 if acked else 0) | (0x80 if dice(2) else 0)
        if dice(100) >= reaches:
            return None
        down = downlink(session.keys, session.dev_addr, fcnt, block, port, payload, fctrl, not dice(5))
        return 1 + dice(2), down

    def _command(self, kind, repeats, slow):
        dice = self.dice
        freq = freq_bytes(_FREQS_HZ[dice(len(_FREQS_HZ))])
        if kind == "A":  # LinkADRReq: data rate and power, channel mask, NbTrans
            dr = dice(3) if dice(100) < slow else 5 - dice(3)
            mask = (7, 7, 255, 6, 0xFFFF)[dice(5)]
            control = 6 if not dice(4) else 0
            return struct.pack("<BBHB", 3, dr << 4 | dice(8), mask, control << 4 | 1 + dice(repeats))
        if kind == "D":  # DutyCycleReq
            return bytes((4, dice(8) if dice(4) else 0))
        if kind == "R":  # RXParamSetupReq
            return bytes((5, dice(6) << 4 | dice(6))) + freq
        if kind == "X":  # DevStatusReq
            return b"\x06"
        if kind == "C":  # NewChannelReq
            return bytes((7, dice(16))) + (freq if dice(5) else b"\0\0\0") + b"\x50"
        if kind == "T":  # RXTimingSetupReq
            return bytes((8, dice(6)))
        if kind == "S":  # TxParamSetupReq, which EU868 ignores
            return bytes((9, dice(64)))
        return bytes((10, dice(8))) + freq  # DlChannelReq


class Session:
    """What the server knows of one session. fcnt_up: the last heard."""

    def __init__(self, dev_addr, keys, dev_nonce):
        self.dev_addr = dev_addr
        self.keys = keys
        self.dev_nonce = dev_nonce
        self.fcnt_up = 0
        self.fcnt_down = 0

    def rebuild(self, low):
        fcnt = self.fcnt_up & ~0xFFFF | low
        return fcnt + 0x10000 if fcnt < self.fcnt_up else fcnt
