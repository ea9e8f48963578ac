"""What a node remembers from one wake to the next: RTC memory, which survives deep sleep and resets but no power cut.

One record, versioned and checked by CRC32; a damaged one is no record. What LoRaWAN needs (session, counters, airtime)
is a part of it that lorawan.device reads and writes; that part is checked by itself, too, and bound to the AppKey. The
other parts belong to those who pack them; whoever reads one has to take b"" for none.
"""

import struct
from binascii import crc32

from micropython import const

_MAGIC = b"SPM\x04"  # the last byte is the version of the format
_SIZE_MAX = const(2048)  # what MicroPython's ESP32 port has
# join_failures, cut_off, phase_ms, sleeps_ms, next_join_s, ticket, result, restart
_FIXED = "<HHHIIBBB"
_LENGTHS = "<6H"
_HEAD = len(_MAGIC) + struct.calcsize(_FIXED) + struct.calcsize(_LENGTHS)
_MAX_COUNT = 0xFFFF


class Memory:
    """join_failures: joins tried in vain since the last good one. cut_off: starts in a row whose first wake did not
    come to its end. phase_ms: how much later than the even rhythm this wake was (see schedule). sleeps_ms: the deep
    sleep that was begun after the record was written, 0 for none. next_join_s: node time before which a node that has
    a session does not try to join. ticket, result: the answer to a downlink that waits for an uplink, ticket 0 for
    none; restart: start anew when it is sent.

    Parts (bytes): window: of payload.window; wanted: of orders.Wanted; sync, log: of node.sync and node.log; sensors:
    of node.measure. found: whether there was a record.

    `read` and `write` are for lorawan.device. rtc: `machine.RTC()`.
    """

    def __init__(self, rtc):
        self._rtc = rtc
        self._device = self.window = self.wanted = self.sync = self.log = self.sensors = b""
        self.join_failures = self.cut_off = self.phase_ms = self.sleeps_ms = self.next_join_s = 0
        self.ticket = self.result = 0
        self.restart = False
        self.found = self._load(bytes(rtc.memory()))

    def read(self):
        """The device's part, b"" for none."""
        return self._device

    def write(self, data):
        """Keep the device's part, and with it everything else."""
        self._device = data
        self.save()

    def save(self):
        """Write the record; what is saved is what the next wake finds. Should it be too long for the memory, the
        window goes, which begins anew by itself."""
        parts = [self._device, self.window, self.wanted, self.sync, self.log, self.sensors]
        if _HEAD + 4 + sum([len(part) for part in parts]) > _SIZE_MAX:
            parts[1] = b""
        fixed = struct.pack(
            _FIXED,
            min(self.join_failures, _MAX_COUNT),
            min(self.cut_off, _MAX_COUNT),
            self.phase_ms,
            self.sleeps_ms,
            self.next_join_s,
            self.ticket,
            self.result,
            self.restart,
        )
        lengths = struct.pack(_LENGTHS, *[len(part) for part in parts])
        body = b"".join([_MAGIC, fixed, lengths] + parts)  # noqa: RUF005 - MicroPython
        self._rtc.memory(body + struct.pack("<I", crc32(body)))

    def _load(self, data):
        if len(data) < _HEAD + 4 or data[: len(_MAGIC)] != _MAGIC:
            return False
        lengths = struct.unpack_from(_LENGTHS, data, _HEAD - struct.calcsize(_LENGTHS))
        end = _HEAD + sum(lengths)
        if len(data) < end + 4 or struct.unpack_from("<I", data, end)[0] != crc32(data[:end]):
            return False
        fixed = struct.unpack_from(_FIXED, data, len(_MAGIC))
        self.join_failures, self.cut_off, self.phase_ms, self.sleeps_ms, self.next_join_s = fixed[:5]
        self.ticket, self.result = fixed[5:7]
        self.restart = bool(fixed[7])
        parts = []
        at = _HEAD
        for length in lengths:
            parts.append(data[at : at + length])
            at += length
        self._device, self.window, self.wanted, self.sync, self.log, self.sensors = parts
        return True
