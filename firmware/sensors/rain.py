"""A tipping bucket with a reed contact: rain in mm since the node began to count.

A tip closes the contact for about 0.1 s. Contacts bounce, and some buckets rock, which would count double
(bmx-weather/weather-bit issue 28): a tip is a closing after the contact was open and quiet for `debounce_ms`. When the
contact may wake the node, and where the total is kept: node/pulses.py.
"""

from sensors.errors import SensorError

# `rain` has 16 bits of 0.1 mm (boards/quantities.toml): 6553.3 mm; then the total starts again
_FULL_MM = 6553.0


class Counter:
    """Counts tips from edges of the contact. ticks_diff: of `time`; moments are its ticks in ms.

    count: tips since they were taken. total, chattered: for `read`, set by whoever keeps them.
    """

    def __init__(self, debounce_ms, ticks_diff, now_ms, closed):
        self._debounce_ms = debounce_ms
        self._diff = ticks_diff
        self.count = 0
        self.total = 0
        self.chattered = False
        self.begin(now_ms, closed)
        self._armed = not closed

    def begin(self, now_ms, closed):
        """The contact has just moved and is now closed, or open; that is counted already, or was no tip."""
        self._last_ms = now_ms
        self._closed = closed
        self._armed = False

    def edge(self, now_ms, closed):
        """The contact moved; `closed` is what it is now, which in a bounce need not be what it was."""
        if self.quiet(now_ms):
            self._armed = not self._closed
        self._last_ms = now_ms
        self._closed = closed
        if closed and self._armed:
            self._armed = False
            self.count += 1

    def look(self, now_ms, closed):
        """The contact is closed, or open: an edge when it was not so before."""
        if closed != self._closed:
            self.edge(now_ms, closed)

    def quiet(self, now_ms):
        """Whether the contact has not moved for `debounce_ms`."""
        return not 0 <= self._diff(now_ms, self._last_ms) < self._debounce_ms  # ticks come round: then it is long ago

    def take(self):
        """Tips since the last call."""
        count = self.count
        self.count -= count  # one may have come in between
        return count


def read(counter, entry, sleep_ms):
    """{"rain": mm}, a running total. counter: a Counter; entry: with "mm_per_tip". Raises SensorError."""
    if counter.chattered:
        raise SensorError("its contact opens and closes all the time")
    mm_per_tip = entry["mm_per_tip"]
    return {"rain": counter.total % int(_FULL_MM / mm_per_tip) * mm_per_tip}
