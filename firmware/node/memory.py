"""What a node remembers from one wake to the next: RTC memory, which survives deep sleep and resets but no power cut.

One record, versioned and checked by CRC32; a damaged one is no record. What LoRaWAN needs (session, counters, airtime)
is a part of it that lorawan.device reads and writes; that part is checked by itself, too, and bound to the AppKey.
"""

import struct
from binascii import crc32

_MAGIC = b"SPM\x03"  # the last byte is the version of the format
# join_failures, cut_off, phase_ms, sleeps_ms, next_join_s, length of the device's part
_FIXED = "<HHHIIH"
_HEAD = len(_MAGIC) + struct.calcsize(_FIXED)
_MAX_COUNT = 0xFFFF


class Memory:
    """join_failures: joins tried in vain since the last good one. cut_off: starts in a row whose first wake did not
    come to its end. phase_ms: how much later than the even rhythm this wake was (see schedule). sleeps_ms: the deep
    sleep that was begun after the record was written, 0 for none. next_join_s: node time before which a node that has
    a session does not try to join.

    `read` and `write` are for lorawan.device. rtc: `machine.RTC()`.
    """

    def __init__(self, rtc):
        self._rtc = rtc
        self._device = b""
        self.join_failures = 0
        self.cut_off = 0
        self.phase_ms = 0
        self.sleeps_ms = 0
        self.next_join_s = 0
        self._load(bytes(rtc.memory()))

    def read(self):
        """The device's part, b"" for none."""
        return self._device

    def write(self, data):
        """Keep the device's part, and with it everything else."""
        self._device = data
        self.save()

    def save(self):
        """Write the record; what is saved is what the next wake finds."""
        counts = min(self.join_failures, _MAX_COUNT), min(self.cut_off, _MAX_COUNT), self.phase_ms
        fixed = struct.pack(_FIXED, *counts, self.sleeps_ms, self.next_join_s, len(self._device))
        body = _MAGIC + fixed + self._device
        self._rtc.memory(body + struct.pack("<I", crc32(body)))

    def _load(self, data):
        if len(data) < _HEAD + 4 or data[: len(_MAGIC)] != _MAGIC:
            return
        fixed = struct.unpack_from(_FIXED, data, len(_MAGIC))
        end = _HEAD + fixed[5]
        if len(data) < end + 4 or struct.unpack_from("<I", data, end)[0] != crc32(data[:end]):
            return
        self.join_failures, self.cut_off, self.phase_ms, self.sleeps_ms, self.next_join_s = fixed[:5]
        self._device = data[_HEAD:end]
