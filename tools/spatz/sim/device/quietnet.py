"""A network that lets one node in and then says nothing but what it must: for runs of one node in virtual time.

It hears JoinRequests at one spreading factor only, so that is the one its node goes on with. An uplink is answered when
it asks for it: a confirmed one, and one with ADRACKReq, which would otherwise slow down when nobody answers.
[TS001-1.0.4, 4.3.1 and 6.2] MICs are not checked: nobody else is on this air. It takes its cryptography from the
firmware, which has to be on the path.
"""

import cryptolib

from lorawan import crypto

DEV_ADDR = 0x26000001
NET_ID = 0x000013
JOIN_US = 5000000
DATA_US = 1000000
_CONFIRMED = 0x80


class QuietNetwork:
    def __init__(self, app_key, sf):
        self.app_key = app_key
        self.sf = sf
        self._join_nonce = 0
        self._fcnt_down = 0
        self._nwk_skey = b""

    def answer_to(self, frame):
        """(µs from the end of the frame to the answer in RX1, bytes), or None."""
        data = frame["data"]
        if data[0] == 0x00:
            return (JOIN_US, self._accept(data)) if frame["sf"] == self.sf else None
        confirmed = data[0] & 0xE0 == _CONFIRMED
        if confirmed or data[5] & 0x40:  # ADRACKReq
            return DATA_US, self._empty(0x20 if confirmed else 0x00)
        return None

    def _accept(self, request):
        dev_nonce = int.from_bytes(request[17:19], "little")
        self._join_nonce += 1
        body = self._join_nonce.to_bytes(3, "little") + NET_ID.to_bytes(3, "little") + DEV_ADDR.to_bytes(4, "little")
        body += b"\x00\x01"  # RX1DROffset 0, RX2 at DR0; RxDelay 1 s
        body += crypto.join_mic(self.app_key, b"\x20" + body)
        self._nwk_skey = crypto.session_keys(self.app_key, self._join_nonce, NET_ID, dev_nonce)[0]
        self._fcnt_down = 0
        return b"\x20" + cryptolib.aes(self.app_key, 1).decrypt(body)

    def _empty(self, control):
        fcnt = self._fcnt_down
        self._fcnt_down += 1
        body = b"\x60" + DEV_ADDR.to_bytes(4, "little") + bytes([control]) + fcnt.to_bytes(2, "little")
        return body + crypto.data_mic(self._nwk_skey, DEV_ADDR, fcnt, 1, body)
