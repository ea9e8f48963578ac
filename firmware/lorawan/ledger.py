"""Airtime of the last hour in each sub-band, kept so that no reset and no power cut gives any of it back.

Everything is in node time, which never leads true time but by a clock up to 3 % fast. A sliding hour is 13 slots of
310 s: twelve whole ones are 3720 s, or 3600 s by the fastest clock and 12 s for a frame to begin late and to end.
Counts are in units of 10 ms, rounded up.

Two records. `pack` is exact and belongs in memory that survives deep sleep and resets. `pack_promise` belongs in flash
and is rarely written: for each band a *promise*, the airtime that no hour exceeds until flash is written again. After a
power cut all that was promised counts as sent at that moment. The order that keeps every crash harmless: `add`; when
not `covered`, `promise` and write flash; write the exact record; transmit. Before flash is written, whatever for, the
exact record as it was before `promise` must be in its memory, so that it never holds more than flash.

Source: duty cycles of EN 300 220 and ERC 70-03 (region.SUB_BANDS), TR007-1.1 4.1.2 (brown-out loops), TS001-1.0.4 5.3
(DutyCycleReq).
"""

import struct

from micropython import const

NEVER = const(0x3FFFFFFF)  # ms to wait for what will never be allowed

_UNIT_US = const(10000)
_UNITS = const(360)  # of an hour in 1/1000
_NO_LIMIT = const(1000)  # 1/1000: all the time; such a band is not counted
_SLOT_MS = const(310000)
SLOTS = const(13)  # index of the sum behind the slots of a row
_FIRST_PROMISE = const(6)  # the first promise is 1 / 2**6 of the limit
_CHECK_SLOTS = const(279)  # a day

_HEAD = "<iiQB"  # slot, next check, silent until, promises made
_HEAD_SIZE = const(17)
_ROW = "<B14H"  # band, 13 slots, their sum
_ROW_SIZE = const(29)
_UNUSED = (0,) * 14


def slide(row, last, slot):
    """Forget what is too old in `slot`. row: 13 slots, used as a ring, and their sum; it stands at slot `last`."""
    if row[SLOTS]:
        for at in range(max(last, slot - SLOTS) + 1, slot + 1):
            row[SLOTS] -= row[at % SLOTS]
            row[at % SLOTS] = 0


def slots_until(row, slot, over):
    """How many slots must pass after `slot` until at least `over` (at most the sum) has been forgotten."""
    count = 0
    while over > 0:
        count += 1
        over -= row[(slot + count) % SLOTS]
    return count


class Ledger:
    """region: a table with SUB_BANDS. A band is an index in them."""

    def __init__(self, region):
        self._limits = [band[2] * _UNITS for band in region.SUB_BANDS]
        self._rows = [_UNUSED] * len(self._limits)
        self._promised = [0] * len(self._limits)
        self._slot = -1  # unknown: what is in the rows counts as sent when the time is known
        self._check_slot = 0
        self._silent_until_ms = 0
        self._promises = 0

    def wait_ms(self, band, airtime_us, now_ms):
        """ms until a frame may begin in `band`: 0 at once, NEVER when it is longer than an hour allows."""
        self._advance(now_ms)
        over = -(-airtime_us // _UNIT_US) - self._limits[band]
        if over > 0:
            return NEVER
        row = self._rows[band]
        count = slots_until(row, self._slot, over + row[SLOTS])
        wait_ms = (self._slot + count) * _SLOT_MS - now_ms if count else 0
        return max(wait_ms, self._silent_until_ms - now_ms)

    def add(self, band, airtime_us, now_ms):
        """Count a frame that begins within 8 s."""
        self._advance(now_ms)
        if self._limits[band] >= _NO_LIMIT * _UNITS:
            return
        row = self._rows[band]
        if row is _UNUSED:
            self._rows[band] = row = list(row)
        units = -(-airtime_us // _UNIT_US)
        row[self._slot % SLOTS] += units
        row[SLOTS] += units

    def quiet(self, airtime_us, max_duty, now_ms):
        """Keep DutyCycleReq after a frame that ended at `now_ms`: all bands are silent for airtime * (2**max_duty - 1).

        max_duty: 0..15; 0 ends a silence.
        """
        silent_ms = -(-airtime_us // 1000) * ((1 << max_duty) - 1)
        self._silent_until_ms = now_ms + silent_ms + (silent_ms >> 5)  # 3 % for a fast clock

    def covered(self, now_ms):
        """Whether flash promises what is counted; if not, `promise` and write it before the frame goes out."""
        self._advance(now_ms)
        return all(row[SLOTS] <= self._promised[band] for band, row in enumerate(self._rows))

    def promise(self, now_ms):
        """Raise the promise where it is needed: by 1/64 of the limit at first, then by twice as much each time."""
        if self.covered(now_ms):
            return
        for band, row in enumerate(self._rows):
            used = row[SLOTS]
            promised = self._promised[band]
            if used > promised:
                limit = self._limits[band]
                self._promised[band] = max(used, min(limit, promised + (limit >> _FIRST_PROMISE - self._promises)))
        self._promises = min(self._promises + 1, _FIRST_PROMISE)

    def stale(self, now_ms):
        """Whether flash should be written because it promises far more than is used: the budget that a power cut costs.

        Looked at when an hour has passed since a power cut, and once a day. The lower promise holds from here on.
        """
        self._advance(now_ms)
        if self._slot < self._check_slot:
            return False
        self._check_slot = self._slot + _CHECK_SLOTS
        lowered = False
        for band, row in enumerate(self._rows):
            enough = 2 * row[SLOTS] + (self._limits[band] >> _FIRST_PROMISE)
            if self._promised[band] > 2 * enough:
                self._promised[band] = enough
                self._promises = 0
                lowered = True
        return lowered

    def pack(self):
        """The exact record: 29 bytes for EU868 and 29 more for each band used in the last hour."""
        record = struct.pack(_HEAD, self._slot, self._check_slot, self._silent_until_ms, self._promises)
        record += self.pack_promise()
        for band, row in enumerate(self._rows):
            if row[SLOTS]:
                record += struct.pack(_ROW, band, *row)
        return record

    def pack_promise(self, now_ms=0):
        """The record for flash, 2 bytes for each band."""
        return struct.pack(f"<{len(self._promised)}H", *self._promised)

    @classmethod
    def unpack(cls, region, data):
        """The ledger of an exact record. In one of the wrong size no band has any airtime left for an hour."""
        ledger = cls(region)
        at = _HEAD_SIZE + 2 * len(ledger._limits)
        if len(data) < at or (len(data) - at) % _ROW_SIZE:
            ledger._book(b"")
            return ledger
        ledger._book(data[_HEAD_SIZE:at])
        ledger._slot, ledger._check_slot, ledger._silent_until_ms, ledger._promises = struct.unpack_from(_HEAD, data)
        ledger._rows = [_UNUSED] * len(ledger._limits)
        while at < len(data):
            row = struct.unpack_from(_ROW, data, at)
            ledger._rows[row[0]] = list(row[1:])
            at += _ROW_SIZE
        return ledger

    @classmethod
    def after_power_cut(cls, region, data, now_ms):
        """The ledger of a record from flash: all that was promised counts as sent at `now_ms`.

        In a record of the wrong size everything was promised.
        """
        ledger = cls(region)
        ledger._book(data)
        ledger._advance(now_ms)
        return ledger

    def _book(self, data):
        count = len(self._limits)
        if len(data) == 2 * count:
            self._promised = list(struct.unpack(f"<{count}H", data))
        else:
            self._promised = [min(limit, 0xFFFF) for limit in self._limits]
        self._rows = [[0] * SLOTS + [promised] for promised in self._promised]

    def _advance(self, now_ms):
        last = self._slot
        slot = now_ms // _SLOT_MS
        if slot > last:
            self._slot = slot
            if last < 0:
                self._check_slot = slot + SLOTS
            for row in self._rows:
                if last < 0 and row[SLOTS]:
                    row[slot % SLOTS] = row[SLOTS]
                else:
                    slide(row, last, slot)
