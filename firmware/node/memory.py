"""What a node remembers from one wake to the next: RTC memory, which survives deep sleep and resets but no power cut.

One record, versioned and checked by CRC32; a damaged one is no record, and the node joins anew. The session in it is
bound to the AppKey besides, so a node that was given another identity does not go on with the old one's session.
"""

import struct
from binascii import crc32

_MAGIC = b"SPM\x02"  # the last byte is the version of the format
_FIXED = "<HHHH"  # join_failures, cut_off, phase_ms, length of the session record
_HEAD = len(_MAGIC) + struct.calcsize(_FIXED)
_MAX_COUNT = 0xFFFF


class Memory:
    """session: the record of lorawan.Session.pack, b"" for none.

    join_failures: joins tried in vain since the last good one. cut_off: starts in a row whose first wake did not come
    to its end. phase_ms: how much later than the even rhythm this wake was (see schedule).

    rtc: `machine.RTC()`.
    """

    def __init__(self, rtc):
        self._rtc = rtc
        self.session = b""
        self.join_failures = 0
        self.cut_off = 0
        self.phase_ms = 0
        self._load(bytes(rtc.memory()))

    def save(self):
        """Write the record; what is saved is what the next wake finds."""
        counts = min(self.join_failures, _MAX_COUNT), min(self.cut_off, _MAX_COUNT)
        body = _MAGIC + struct.pack(_FIXED, *counts, self.phase_ms, len(self.session)) + self.session
        self._rtc.memory(body + struct.pack("<I", crc32(body)))

    def _load(self, data):
        if len(data) < _HEAD + 4 or data[: len(_MAGIC)] != _MAGIC:
            return
        failures, cut_off, phase_ms, size = struct.unpack_from(_FIXED, data, len(_MAGIC))
        end = _HEAD + size
        if len(data) < end + 4 or struct.unpack_from("<I", data, end)[0] != crc32(data[:end]):
            return
        self.join_failures = failures
        self.cut_off = cut_off
        self.phase_ms = phase_ms
        self.session = data[_HEAD:end]
