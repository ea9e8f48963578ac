"""Airtime of JoinRequests since the first try: below 36 s in the first hour, below 36 s in the next ten hours, then
below 8.7 s in any 24 hours.

The phases are in node time, whose clock may be 3 % fast or slow. So they overlap, and a frame near a border counts in
both. Any 24 hours are 13 slots of 7440 s, as in the ledger: twelve whole ones are 24.8 h.

One record for both memories. Flash holds what was counted when it was written, and how much may be sent without writing
again: nothing at first, then one, then three more joins. After a power cut that much counts as sent. The order of
writing is that of the ledger. Node time goes on after a power cut where flash was written last, so phases grow longer
by it, never shorter.

Source: TS001-1.0.4 7, TR007-1.1 4.1.2 and 4.8.
"""

import struct

from micropython import const

from lorawan.ledger import NEVER, SLOTS, slide, slots_until

# seconds since the first try, by a clock 3 % fast or slow, and 12 s for a frame that begins late
_FIRST_END_S = const(3720)  # 1 h
_SECOND_S = const(3480)
_SECOND_END_S = const(40800)  # 11 h
_THIRD_S = const(38400)
_THIRD_SLOT_S = const(7440)

_LIMIT_MS = const(36000)
_THIRD_LIMIT_MS = const(8700)
_STALE_S = const(3600)

_RECORD = "<qIIBBhHH13H"
_RECORD_SIZE = const(50)
_IDLE = b"\0"


class JoinClock:
    """Stands still until the first try."""

    def __init__(self):
        self.joined()

    def joined(self):
        """A join worked: the next first try begins anew."""
        self._start_ms = -1
        self._used_ms = [0, 0]  # in the first hour, in the next ten
        self._row = [0] * (SLOTS + 1)  # after them, see ledger.slide
        self._slot = 0
        self._spare_ms = 0  # what flash allows to be sent; below 0 it must be written
        self._frame_ms = 0
        self._promises = 0
        self._phases = 0
        self._stored_s = 0

    def wait_ms(self, airtime_us, now_ms):
        """ms until a JoinRequest may begin: 0 at once, NEVER when it is too long."""
        ms = -(-airtime_us // 1000)
        passed_s = moment_s = self._advance(now_ms)
        first_ms, second_ms = self._used_ms
        if moment_s < _FIRST_END_S and first_ms + ms >= _LIMIT_MS:
            moment_s = _FIRST_END_S
        if _SECOND_S <= moment_s < _SECOND_END_S and second_ms + ms >= _LIMIT_MS:
            moment_s = _SECOND_END_S
        if moment_s >= _THIRD_S:
            if ms >= _THIRD_LIMIT_MS:
                return NEVER
            count = slots_until(self._row, self._slot, self._row[SLOTS] + ms - _THIRD_LIMIT_MS + 1)
            if count:
                moment_s = max(moment_s, (self._slot + count) * _THIRD_SLOT_S)
        return 0 if moment_s == passed_s else self._start_ms + moment_s * 1000 - now_ms

    def add(self, airtime_us, now_ms):
        """Count a JoinRequest that begins within 8 s; the first one starts the clock."""
        if self._start_ms < 0:
            self._start_ms = now_ms
        self._frame_ms = ms = -(-airtime_us // 1000)
        phases = self._count(ms, now_ms)
        if phases != self._phases:  # what is promised in one phase is not for the next
            self._phases = phases
            self._spare_ms = self._promises = 0
        self._spare_ms -= ms

    def covered(self):
        """Whether flash allows for what is counted; if not, `promise` and write it before the frame goes out."""
        return self._spare_ms >= 0

    def promise(self):
        """Allow for 0, 1, then 3 more JoinRequests like the last, where the promise is used up."""
        if self._spare_ms < 0:
            self._spare_ms = self._frame_ms * ((1 << self._promises) - 1)
            self._promises = min(self._promises + 1, 2)

    def stale(self, now_ms):
        """Whether flash should be written so that a power cut does not turn the clock back by more than an hour."""
        return self._advance(now_ms) - self._stored_s >= _STALE_S

    def pack(self):
        """The exact record, 50 bytes; 1 byte when the clock stands still."""
        if self._start_ms < 0 and not self._row[SLOTS]:
            return _IDLE
        return struct.pack(
            _RECORD,
            self._start_ms,
            self._slot,
            self._stored_s,
            self._promises,
            self._phases,
            self._spare_ms,
            *(self._used_ms + self._row[:SLOTS]),
        )

    def pack_promise(self, now_ms):
        """The record for flash."""
        self._stored_s = self._advance(now_ms)
        return self.pack()

    @classmethod
    def unpack(cls, data):
        """The clock of an exact record. In one of the wrong size nothing is left of any phase."""
        clock = cls()
        if len(data) == _RECORD_SIZE:
            fields = struct.unpack(_RECORD, data)
            clock._start_ms, clock._slot, clock._stored_s, clock._promises, clock._phases, clock._spare_ms = fields[:6]
            clock._used_ms = list(fields[6:8])
            clock._row = list(fields[8:])
            clock._row.append(sum(clock._row))
        elif bytes(data) != _IDLE:
            clock._used_ms = [_LIMIT_MS, _LIMIT_MS]
            clock._row[0] = clock._row[SLOTS] = _THIRD_LIMIT_MS
        return clock

    @classmethod
    def after_power_cut(cls, data, now_ms):
        """The clock of a record from flash: all that was promised counts as sent at `now_ms`."""
        clock = cls.unpack(data)
        clock._count(clock._spare_ms, now_ms)
        clock._spare_ms = clock._promises = 0
        return clock

    def _advance(self, now_ms):
        """Seconds since the first try; forgets what is too old."""
        if self._start_ms < 0:
            if not self._row[SLOTS]:
                return 0
            self._start_ms = now_ms  # the clock of a damaged record starts when the time is known
        passed_s = (now_ms - self._start_ms) // 1000
        slot = passed_s // _THIRD_SLOT_S
        if slot > self._slot:
            slide(self._row, self._slot, slot)
            self._slot = slot
        return passed_s

    def _count(self, ms, now_ms):
        """Count in the phases of this moment, which are returned as bits."""
        passed_s = self._advance(now_ms)
        phases = 0
        if passed_s < _FIRST_END_S:
            phases = 1
            self._used_ms[0] += ms
        if _SECOND_S <= passed_s < _SECOND_END_S:
            phases |= 2
            self._used_ms[1] += ms
        if passed_s >= _THIRD_S:
            phases |= 4
            self._row[self._slot % SLOTS] += ms
            self._row[SLOTS] += ms
        return phases
