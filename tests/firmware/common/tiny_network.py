"""A network of one device for checks of lorawan.device, on both interpreters: it answers joins, counts, and sends what
it is told to send. It stands on the firmware's own crypto; the independent oracle is lorawan_network."""

import struct

from cryptolib import aes
from lorawan import crypto

DEV_ADDR = 0x26011234


class TinyNetwork:
    """nonces, fcnt_up: what was heard; payloads: of data frames, in clear; answers: FOpts of the last.

    commands, downlink (port, payload), replay (a whole frame): what goes out with the next data frame, once.
    """

    def __init__(self, app_key):
        self.app_key = app_key
        self.nonces = []
        self.joins = 0
        self.join_nonce = 0
        self.fcnt_up = -1
        self.fcnt_down = 0
        self.payloads = []
        self.answers = b""
        self.commands = b""
        self.downlink: tuple | None = None
        self.replay: bytes | None = None
        self.last_reply = b""
        self.nwk_skey = self.app_skey = bytes(16)

    def hear(self, frame):
        if frame[0] == 0x00:
            return self._accept(frame)
        fcnt = self.fcnt_up + 1
        while fcnt & 0xFFFF != frame[6] | frame[7] << 8:
            fcnt += 1
        if crypto.data_mic(self.nwk_skey, DEV_ADDR, fcnt, 0, frame[:-4]) != frame[-4:]:
            raise AssertionError("a counter came again, or another session's frame")
        self.fcnt_up = fcnt
        end = 8 + (frame[5] & 15)
        self.answers = frame[8:end]
        self.payloads.append(crypto.crypt_payload(self.app_skey, DEV_ADDR, fcnt, 0, frame[end + 1 : -4]))
        if self.replay:
            reply, self.replay = self.replay, None
            return reply
        if not self.commands and not self.downlink:
            return None
        head = struct.pack("<BIBH", 0x60, DEV_ADDR, len(self.commands), self.fcnt_down & 0xFFFF) + self.commands
        if self.downlink:
            port, payload = self.downlink
            head += bytes((port,)) + crypto.crypt_payload(self.app_skey, DEV_ADDR, self.fcnt_down, 1, payload)
        self.last_reply = head + crypto.data_mic(self.nwk_skey, DEV_ADDR, self.fcnt_down, 1, head)
        self.fcnt_down += 1
        self.commands = b""
        self.downlink = None
        return self.last_reply

    def _accept(self, frame):
        nonce = frame[17] | frame[18] << 8
        assert nonce not in self.nonces, "a DevNonce came again"
        assert crypto.join_mic(self.app_key, frame[:-4]) == frame[-4:]
        self.nonces.append(nonce)
        self.joins += 1
        self.join_nonce += 1
        body = self.join_nonce.to_bytes(3, "little") + bytes(3) + struct.pack("<IBB", DEV_ADDR, 0, 1)
        body += crypto.join_mic(self.app_key, b"\x20" + body)
        self.nwk_skey, self.app_skey = crypto.session_keys(self.app_key, self.join_nonce, 0, nonce)
        self.fcnt_up = -1
        self.fcnt_down = 0
        return b"\x20" + aes(self.app_key, 1).decrypt(body)
