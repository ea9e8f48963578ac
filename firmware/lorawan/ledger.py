"""What was sent, so that the law is kept: airtime of the last hour in each sub-band, and of joins since the first try.
No reset and no power cut gives any of it back.

Everything is in node time, which never leads true time but by a clock up to 3 % fast, and may lag.

What is kept in flash is rarely written: it holds a *promise*, an amount of airtime that is not exceeded until flash is
written again. After a power cut all that was promised counts as sent at that moment. Two rules keep every crash
harmless. Before a frame goes out: `add`; when not `covered`, `promise` and write flash; write the exact record to the
memory that survives resets. And before flash is written, whatever for, the exact record is written too, as it was
before `promise`, so that this memory never knows of a promise that flash does not hold.

Source: duty cycles of EN 300 220 and ERC 70-03 (region.SUB_BANDS), TS001-1.0.4 5.3 (DutyCycleReq) and 7 (joins),
TR007-1.1 4.1.2 (brown-out loops) and 4.8 (joins).
"""

import struct

from micropython import const

NEVER = const(0x3FFFFFFF)  # ms to wait for what will never be allowed

# A sliding hour is 13 slots of 310 s: twelve whole ones are 3720 s, or 3600 s by the fastest clock and 12 s for a frame
# to begin late and to end. Counts are in units of 10 ms, rounded up.
_SLOT_MS = const(310000)
_CHECK_SLOTS = const(279)  # a day
_UNIT_US = const(10000)
_PERMILLE = const(360)  # units in 1/1000 of an hour
_NO_LIMIT = const(0xFFFF)  # 18 % or more: such a band is not counted
_STEP = const(6)  # the first promise is 1 / 2**6 of the limit

# A row, one for each band: 13 slots used as a ring, their sum, what is promised, the limit.
_SLOTS = const(13)
_SUM = const(13)
_PROMISED = const(14)
_LIMIT = const(15)
_ROW = "<B16H"  # band, row
_ROW_SIZE = const(33)

# The rest of the state: the slot (-1: unknown; what is in the sums counts as sent when the time is known), the slot
# when to look for a stale promise, node time until which all bands are silent, how often a promise was raised.
_HEAD = "<iiQB"
_HEAD_SIZE = const(17)
_SLOT = const(0)
_CHECK = const(1)
_SILENT = const(2)
_RAISED = const(3)


class Ledger:
    """Airtime of the last hour. region: a table with SUB_BANDS; a band is an index in them.

    A promise holds for any hour until flash is written again, so a steady use needs no writing.
    """

    def __init__(self, region):
        self._head = [-1, 0, 0, 0]
        self._rows = [[0] * _LIMIT + [min(band[2] * _PERMILLE, _NO_LIMIT)] for band in region.SUB_BANDS]

    def wait_ms(self, band, airtime_us, now_ms):
        """ms until a frame may begin in `band`: 0 at once, NEVER when it is longer than an hour allows."""
        slot = self._advance(now_ms)
        row = self._rows[band]
        over = -(-airtime_us // _UNIT_US) - row[_LIMIT]
        if over > 0:
            return NEVER
        over += row[_SUM]
        while over > 0:
            slot += 1
            over -= row[slot % _SLOTS]
        until_ms = max(slot * _SLOT_MS, self._head[_SILENT])
        return until_ms - now_ms if until_ms > now_ms else 0

    def silent_ms(self, now_ms):
        """ms left of the silence that DutyCycleReq asks for."""
        return max(0, self._head[_SILENT] - now_ms)

    def add(self, band, airtime_us, now_ms):
        """Count a frame that begins within 8 s."""
        slot = self._advance(now_ms)
        row = self._rows[band]
        if row[_LIMIT] < _NO_LIMIT:
            units = -(-airtime_us // _UNIT_US)
            row[slot % _SLOTS] += units
            row[_SUM] += units

    def quiet(self, airtime_us, max_duty, now_ms):
        """Keep DutyCycleReq after a frame that ended at `now_ms`: all bands are silent for airtime * (2**max_duty - 1).

        max_duty: 0..15; 0 ends a silence.
        """
        silent_ms = -(-airtime_us // 1000) * ((1 << max_duty) - 1)
        self._head[_SILENT] = now_ms + silent_ms + (silent_ms >> 5)  # 3 % for a fast clock

    def covered(self, now_ms):
        """Whether flash promises what is counted; if not, `promise` and write it before the frame goes out.

        `add` has just brought the count to this time.
        """
        for row in self._rows:  # noqa: SIM110 - a generator is larger
            if row[_SUM] > row[_PROMISED]:
                return False
        return True

    def promise(self, now_ms):
        """Raise the promise where it is needed: by 1/64 of the limit at first, then by twice as much each time."""
        head = self._head
        raised = head[_RAISED]
        for row in self._rows:
            if row[_SUM] > row[_PROMISED]:
                more = row[_PROMISED] + (row[_LIMIT] >> _STEP - raised)
                row[_PROMISED] = max(row[_SUM], min(row[_LIMIT], more))
                head[_RAISED] = min(raised + 1, _STEP)

    def stale(self, now_ms):
        """Whether flash should be written because it promises far more than is used, which a power cut would cost.

        Looked at when an hour has passed since a power cut, and once a day. The lower promise holds from here on.
        """
        slot = self._advance(now_ms)
        head = self._head
        stale = False
        if slot >= head[_CHECK]:
            head[_CHECK] = slot + _CHECK_SLOTS
            for row in self._rows:
                enough = 2 * row[_SUM] + (row[_LIMIT] >> _STEP)
                if row[_PROMISED] > 8 * enough:
                    row[_PROMISED] >>= 3  # not to what was used last: that is soon raised again
                    head[_RAISED] = 0
                    stale = True
        return stale

    def pack(self, now_ms=0):
        """The exact record, 17 bytes and 33 for each band that was used."""
        data = struct.pack(_HEAD, *self._head)
        for band, row in enumerate(self._rows):
            if row[_PROMISED] or row[_SUM]:
                data += struct.pack(_ROW, band, *row)
        return data

    pack_promise = pack  # the record for flash, of which only the promise is used

    @classmethod
    def unpack(cls, region, data):
        """The ledger of an exact record. In one of the wrong size no band has any airtime left for an hour."""
        ledger = cls(region)
        rows = ledger._rows
        if (len(data) - _HEAD_SIZE) % _ROW_SIZE:
            for row in rows:
                row[_SUM] = row[_PROMISED] = row[_LIMIT]
        else:
            ledger._head = list(struct.unpack_from(_HEAD, data))
            for at in range(_HEAD_SIZE, len(data), _ROW_SIZE):
                fields = struct.unpack_from(_ROW, data, at)
                if fields[0] < len(rows):  # a record of another region may have more
                    rows[fields[0]][:_LIMIT] = fields[1 : 1 + _LIMIT]
        return ledger

    @classmethod
    def after_power_cut(cls, region, data, now_ms):
        """The ledger of a record from flash: all that was promised counts as sent at `now_ms`."""
        ledger = cls.unpack(region, data)
        ledger._head[_SLOT] = -1
        ledger._head[_RAISED] = 0
        for row in ledger._rows:
            row[:_PROMISED] = [0] * _SLOTS + [row[_PROMISED]]
        ledger._advance(now_ms)
        return ledger

    def _advance(self, now_ms):
        """Forget what is too old. Returns the slot."""
        head = self._head
        last = head[_SLOT]
        slot = now_ms // _SLOT_MS
        if slot > last:
            head[_SLOT] = slot
            if last < 0:
                head[_CHECK] = slot + _SLOTS
            for row in self._rows:
                if last < 0:
                    row[slot % _SLOTS] = row[_SUM]
                elif row[_SUM]:
                    for at in range(max(last, slot - _SLOTS) + 1, slot + 1):
                        row[_SUM] -= row[at % _SLOTS]
                        row[at % _SLOTS] = 0
        return head[_SLOT]


_JOIN_MS = const(36000)
_UNSEEN_S = const(7500)  # two hours: what a lost record may be ahead (one is written every hour), and what followed it
_LATE_JOIN_MS = const(8700)
# End of the first hour, begin of the ten, their end, begin of the last phase: s since the first try, 3 % and 12 s for a
# frame that begins late from 1 h and 11 h. An even number of borders has passed in a phase, an odd one in a pause.
_BORDERS_S = (3480, 3720, 38400, 40800)
_LATE = const(4)
_DAY_MS = const(89280000)  # 24.8 h
_HOUR_MS = const(3600000)

# State and record: node time of the first try (-1: none), of the last one, and of the last record for flash; ms used in
# this phase; how many borders have passed; promises made; ms that flash allows for, below 0 it must be written.
_CLOCK = "<qqqHBBh"
_CLOCK_SIZE = const(30)
_START = const(0)
_LAST = const(1)
_STORED = const(2)
_USED = const(3)
_PHASE = const(4)
_DOUBLED = const(5)
_SPARE = const(6)


class JoinClock:
    """Airtime of JoinRequests: below 36 s in the first hour after the first try, below 36 s in the next ten hours, then
    below 8.7 s in any 24 hours. Stands still until the first try.

    The clock may be 3 % fast or slow, so there is a pause between two phases, in which the later one may or may not
    have begun. The 8.7 s begin anew when there was no try for 24.8 h, so they hold wherever the 24 hours are laid.
    After a power cut node time goes on where flash was written last, so phases are longer than they must be.

    A promise is for one phase and an hour after the last try: what was counted and nothing more, then one join more,
    then three.
    """

    def __init__(self):
        self.joined()

    def joined(self):
        """A join worked: the next try is a first one."""
        self._state = [-1, 0, 0, 0, 0, 0, 0]

    def wait_ms(self, airtime_us, now_ms):
        """ms until a JoinRequest may begin: 0 at once, NEVER when it is too long."""
        state = self._advance(now_ms)
        ms = -(-airtime_us // 1000)
        phase = state[_PHASE]
        limit_ms = _JOIN_MS if phase < _LATE else _LATE_JOIN_MS
        if not phase & 1 and state[_USED] + ms < limit_ms:
            return 0
        if ms >= (limit_ms if phase < 2 else _LATE_JOIN_MS):
            return NEVER
        if phase < _LATE:
            return state[_START] + _BORDERS_S[phase | 1] * 1000 - now_ms
        return state[_LAST] + _DAY_MS - now_ms

    def add(self, airtime_us, now_ms):
        """Count a JoinRequest that begins within 8 s; the first one starts the clock."""
        ms = -(-airtime_us // 1000)
        state = self._advance(now_ms)
        if state[_START] < 0:
            state[_START] = now_ms
        state[_LAST] = now_ms
        state[_USED] += ms
        state[_SPARE] = max(0, state[_SPARE]) - ms

    def covered(self):
        """Whether flash allows for what is counted; if not, `promise` and write it before the frame goes out."""
        return self._state[_SPARE] >= 0

    def promise(self):
        """Where the promise is used up: allow for 0, 1, then 3 times as much again."""
        state = self._state
        if state[_SPARE] < 0:
            state[_SPARE] *= 1 - (1 << state[_DOUBLED])
            state[_DOUBLED] = min(state[_DOUBLED] + 1, 2)

    def stale(self, now_ms):
        """Whether flash should be written so that a power cut does not turn the clock back by more than an hour."""
        return self._state[_START] >= 0 and now_ms - self._state[_STORED] >= _HOUR_MS

    def pack(self):
        """The exact record, 30 bytes."""
        return struct.pack(_CLOCK, *self._state)

    def pack_promise(self, now_ms):
        """The record for flash."""
        self._state[_STORED] = now_ms
        return self.pack()

    @classmethod
    def unpack(cls, data):
        """The clock of an exact record. One of the wrong size gives a first hour, from here on, with nothing left."""
        clock = cls()
        if len(data) == _CLOCK_SIZE:
            clock._state = list(struct.unpack(_CLOCK, data))
        else:
            clock._state[_USED] = _JOIN_MS
        return clock

    @classmethod
    def after_power_cut(cls, data, now_ms, damaged=False):
        """The clock of a record from flash: all that was promised counts as sent at `now_ms`; all that the phase allows
        when the record is `damaged`, that is, perhaps not the newest."""
        clock = cls.unpack(data)
        state = clock._state
        if damaged:
            # The newest may have been up to two hours younger, in the next phase.
            if state[_START] < 0:
                state[_START] = now_ms
            phase = _phase((now_ms - state[_START]) // 1000 + _UNSEEN_S)
            state[_PHASE] = phase + (phase & 1)
            state[_USED] = _JOIN_MS
            state[_LAST] = now_ms
        if state[_SPARE] > 0:
            state[_USED] += state[_SPARE]
            state[_LAST] = now_ms
        state[_SPARE] = state[_DOUBLED] = 0
        return clock

    def _advance(self, now_ms):
        """The state, in which a phase or a day begins anew when its time has come."""
        state = self._state
        if state[_START] < 0 and state[_USED]:
            state[_START] = state[_LAST] = now_ms  # of a damaged record
        if state[_START] >= 0:
            passed_s = (now_ms - state[_START]) // 1000
            rest_ms = now_ms - state[_LAST]
            phase = max(_phase(passed_s), state[_PHASE])
            if phase != state[_PHASE] or (phase == _LATE and rest_ms >= _DAY_MS):
                state[_PHASE] = phase
                state[_USED] = 0
                rest_ms = _HOUR_MS
            if rest_ms >= _HOUR_MS:  # what is promised is neither for another phase nor for ever
                state[_SPARE] = state[_DOUBLED] = 0
        return state


def _phase(passed_s):
    """How many borders have passed."""
    phase = 0
    for border_s in _BORDERS_S:
        phase += passed_s >= border_s
    return phase
