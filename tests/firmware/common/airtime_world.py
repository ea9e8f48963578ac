# pyright: reportAttributeAccessIssue=false
# World calls what its two kinds define; MicroPython has no abstract classes.
"""A node with a ledger in a world that resets it and cuts its power, and what the law says to what was on air.

True time is in integer µs. The node's clock runs up to 3 % fast or slow; it stands while the node is off. Everything
that was on air is written down as (band, start, end); the law is then computed from that alone.
"""

from lorawan.ledger import JoinClock, Ledger

HOUR_US = 3600000000
DAY_US = 24 * HOUR_US

# What happens to the node, and when in the course of a transmission.
NOTHING, RESET, RAM_LOST, POWER_CUT = range(4)
BEFORE, COUNTED, SAVED, PROMISED, WRITTEN, READY, ON_AIR, AFTER = range(8)


class CrashError(Exception):
    pass


class World:
    """ppm: how much faster than true time the node's clock runs; it may be changed at any time.

    LedgerWorld and JoinWorld say what is kept: fresh, restore, after_power_cut; wait_ms, add, covered, promise; pack,
    pack_promise.
    """

    def __init__(self, band_count, ppm):
        self.bands = band_count
        self.ppm = ppm
        self.now_us = 0
        self.node_us = 0  # node time in µs of the node
        self.ram = None
        self.flash = None
        self.sent = []
        self.writes = 0
        self.crash_at = NOTHING, BEFORE
        self.fresh()

    # the node

    def now_ms(self):
        return self.node_us // 1000

    def sleep_us(self, us):
        """Let true time pass, the node being on."""
        self.now_us += us
        self.node_us += us * (1000000 + self.ppm) // 1000000

    def save(self):
        self.ram = self.node_us, self.pack()

    def store(self):
        """Write flash, as lorawan.device does."""
        self.save()
        self.point(SAVED)
        self.promise()
        self.point(PROMISED)
        self.flash = self.node_us, self.pack_promise()
        self.writes += 1
        self.point(WRITTEN)
        self.save()

    def point(self, stage):
        if self.crash_at[1] == stage and self.crash_at[0] != NOTHING:
            raise CrashError

    def send(self, band, airtime_us, late_us=0, crash=NOTHING, stage=BEFORE, off_us=0):
        """Try to send; True when something was on air. The node is off for off_us after a crash."""
        self.crash_at = crash, stage
        started = False
        try:
            self.point(BEFORE)
            if self.wait_ms(band, airtime_us):
                raise CrashError  # the crash may come without a transmission
            self.add(band, airtime_us)
            self.point(COUNTED)
            if not self.covered():
                self.store()
            else:
                self.save()
                self.point(SAVED)
            self.point(READY)
            self.sleep_us(late_us)
            started = True
            start_us = self.now_us
            self.sleep_us(airtime_us if stage != ON_AIR or crash == NOTHING else airtime_us // 2)
            self.sent.append((band, start_us, self.now_us))
            self.point(ON_AIR)
            self.save()
            self.point(AFTER)
        except CrashError:
            pass
        self.start_again(crash, off_us)
        return started

    def start_again(self, crash, off_us):
        self.crash_at = NOTHING, BEFORE
        if crash == NOTHING:
            return
        self.now_us += off_us
        if crash == RESET and self.ram is not None:
            self.node_us, data = self.ram
            self.restore(data)
        elif self.flash is not None:
            self.node_us, data = self.flash
            self.after_power_cut(data)
        else:
            self.node_us = 0
            self.fresh()


class LedgerWorld(World):
    def __init__(self, region, ppm=0):
        self.region = region
        World.__init__(self, len(region.SUB_BANDS), ppm)

    def fresh(self):
        self.ledger = Ledger(self.region)

    def restore(self, data):
        self.ledger = Ledger.unpack(self.region, data)

    def after_power_cut(self, data):
        self.ledger = Ledger.after_power_cut(self.region, data, self.now_ms())

    def wait_ms(self, band, airtime_us):
        return self.ledger.wait_ms(band, airtime_us, self.now_ms())

    def add(self, band, airtime_us):
        self.ledger.add(band, airtime_us, self.now_ms())

    def covered(self):
        return self.ledger.covered(self.now_ms())

    def promise(self):
        self.ledger.promise(self.now_ms())

    def pack(self):
        return self.ledger.pack()

    def pack_promise(self):
        return self.ledger.pack_promise(self.now_ms())

    def look_for_stale(self):
        if self.ledger.stale(self.now_ms()):
            self.store()
            return True
        return False

    def worst(self, band):
        """The most airtime that any sliding hour of true time holds in `band`, in µs."""
        return most([(start, end) for where, start, end in self.sent if where == band], HOUR_US)

    def lawful(self):
        for band in range(self.bands):
            limit_us = self.region.SUB_BANDS[band][2] * 3600000
            assert self.worst(band) <= limit_us, (band, self.worst(band), limit_us)


class JoinWorld(World):
    def __init__(self, ppm=0):
        World.__init__(self, 1, ppm)

    def fresh(self):
        self.clock = JoinClock()

    def restore(self, data):
        self.clock = JoinClock.unpack(data)

    def after_power_cut(self, data):
        self.clock = JoinClock.after_power_cut(data, self.now_ms())

    def wait_ms(self, band, airtime_us):
        return self.clock.wait_ms(airtime_us, self.now_ms())

    def add(self, band, airtime_us):
        self.clock.add(airtime_us, self.now_ms())

    def covered(self):
        return self.clock.covered()

    def promise(self):
        self.clock.promise()

    def pack(self):
        return self.clock.pack()

    def pack_promise(self):
        return self.clock.pack_promise(self.now_ms())

    def look_for_stale(self):
        if self.clock.stale(self.now_ms()):
            self.store()
            return True
        return False

    def frames(self):
        """(start, end) since the first try, which is at 0."""
        first = self.sent[0][1] if self.sent else 0
        return [(start - first, end - first) for _, start, end in self.sent]

    def lawful_in_sum(self):
        """At any moment since the first try, no more was sent than all phases up to it allow."""
        frames = self.frames()
        for _, moment in frames:
            total = overlap(frames, 0, moment)
            allowed = 36000000
            if moment > HOUR_US:
                allowed += 36000000
            if moment > 11 * HOUR_US:
                allowed += 8700000 * (1 + (moment - 11 * HOUR_US) // DAY_US)
            assert total < allowed, (moment / HOUR_US, total, allowed)

    def lawful_in_phases(self):
        """Each phase for itself, and any 24 hours after the first eleven: for a node that never was off."""
        frames = self.frames()
        assert overlap(frames, 0, HOUR_US) < 36000000, overlap(frames, 0, HOUR_US)
        assert overlap(frames, HOUR_US, 11 * HOUR_US) < 36000000, overlap(frames, HOUR_US, 11 * HOUR_US)
        late = [(max(start, 11 * HOUR_US), end) for start, end in frames if end > 11 * HOUR_US]
        assert most(late, DAY_US) < 8700000, most(late, DAY_US)


def overlap(frames, begin, end):
    return sum([max(0, min(end, stop) - max(begin, start)) for start, stop in frames])


def most(frames, length_us):
    """The most that a window of this length, laid anywhere, holds of frames (start, end).

    It is reached where a window begins with a frame or ends with one: elsewhere, moving it gains as much as it loses.
    """
    worst = 0
    first = 0
    for index, (start, stop) in enumerate(frames):
        while frames[first][1] <= stop - length_us:
            first += 1
        worst = max(worst, overlap(frames[first : index + 1], stop - length_us, stop))
        last = index
        while last < len(frames) and frames[last][0] < start + length_us:
            last += 1
        worst = max(worst, overlap(frames[index:last], start, start + length_us))
    return worst
