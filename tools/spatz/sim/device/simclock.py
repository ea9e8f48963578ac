"""Node time: explicit, and advanced only by what costs time on a node (sleeps, waits, bus transfers, timer reads).

Two time scales, both in integer microseconds:
- *true* time (`now`): the time of the air, on CLOCK_MONOTONIC when paced; radio and sensors live in it;
- *node* time (`node_us()`): what the processor's own oscillator makes of it, `ppm` fast (+) or slow (-).

Events (end of a transmission, RX timeout, interrupt) are scheduled in true time and run in order while the
clock passes them, so a window is exact however noisy the machine is that runs the emulator.

Paced: never ahead of the wall by more than SLACK_US, and before an event is decided the wall has reached it and
the air link has been read. When the machine was busy, node time lags and the next sleep catches up.
`follow` is for a prompt, where people let minutes pass: more than so many µs behind the wall, it jumps to it first.
Virtual: jumps.

`keys`, on a board with a console, is asked whether Ctrl-C was pressed: with each call that takes time, and while the
clock waits. It may raise KeyboardInterrupt; nothing is half done then.
"""

import heapq

import utime
from fault import PowerDown

SLACK_US = 1000  # small costs run ahead of the wall by at most this before the process waits


class Clock:
    def __init__(self, start_us, paced=False, ppm=0):
        self.now = start_us
        self.paced = paced
        self.ppm = ppm
        self.link = None  # the air link to read while waiting: wait(timeout_us) and poll()
        self.halted = None  # the PowerDown that ended this boot
        self.watch = None  # called before time passes and after each event; may end the boot
        self.follow = None
        self.keys = None
        self._origin = start_us
        self._queue = []
        self._serial = 0

    # events

    def at(self, when_us, action):
        """Run action() when the clock passes when_us (at once, if that is past). Returns a handle for cancel()."""
        self._serial += 1
        entry = [when_us, self._serial, action]
        heapq.heappush(self._queue, entry)
        return entry

    def cancel(self, entry):
        if entry is not None:
            entry[2] = None

    def next_event_us(self):
        """True time of the next event, or None."""
        while self._queue and self._queue[0][2] is None:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    # time passing

    def spend(self, cost_us):
        """The processor is busy for cost_us."""
        self.run_until(self.now + cost_us)

    def sleep_node_us(self, duration_us, stop=None):
        """Wait for duration_us of the node's own clock; returns early once stop() is true after an event."""
        self.run_until(self.now + self.true_duration(max(0, duration_us)), stop)

    def run_until(self, when_us, stop=None):
        """Let time pass until when_us (true), running the events on the way."""
        if self.halted is not None:
            raise self.halted
        if self.watch is not None:
            self.watch()
        if self.keys is not None:
            self.keys.look()
        if self.follow and self.paced:
            behind = utime.ticks_us() - self.now
            if behind > self.follow:
                when_us += behind
        while True:
            due = self.next_event_us()
            event = due is not None and due <= when_us
            moment = due if event else when_us
            if self.paced:
                self._pace(moment, event)
                earlier = self.next_event_us()
                if earlier is not None and earlier < moment:
                    continue  # the air announced something that happens first
            if moment > self.now:
                self.now = moment
            if not event:
                if self.watch is not None:
                    self.watch()
                return
            action = heapq.heappop(self._queue)[2]
            if action is not None:
                action()
                if self.watch is not None:
                    self.watch()
            if stop is not None and stop():
                return

    def _pace(self, moment, exact):
        slack = 0 if exact else SLACK_US
        while True:
            ahead = moment - utime.ticks_us()
            if ahead <= slack:
                break
            if self.keys is not None:
                self.keys.wait(ahead, self.link)
            elif self.link is not None:
                self.link.wait(ahead)
            else:
                utime.sleep_us(ahead)
            due = self.next_event_us()
            if due is not None and due < moment:
                return
        if exact and self.link is not None:
            self.link.poll()

    # the node's own clock

    def node_us(self):
        """Node time in µs (not wrapped)."""
        elapsed = self.now - self._origin
        return self._origin + elapsed + elapsed * self.ppm // 1000000

    def true_duration(self, node_us):
        """True µs that pass while the node's clock counts node_us."""
        return node_us * 1000000 // (1000000 + self.ppm)

    def halt(self, event):
        """End this boot: every later use of the hardware raises the same PowerDown again."""
        self.halted = PowerDown(event)
        raise self.halted


def wall_us():
    """CLOCK_MONOTONIC in µs."""
    return utime.ticks_us()
