"""For how long each part of the board was in which state: true µs, from the firmware's own calls.

    board.energy.us        {"cpu busy/240": µs, "radio tx/14/22": µs, ...} since this boot began, up to now
    board.energy.counts    {"boot deepsleep": 1, "tx 7": 1, ...}
    board.energy.mark()    a copy of both, to be taken from a later one with since(mark)

| part    | states |
| cpu     | busy/MHz, idle/MHz (waits in time.sleep), light, deep, boot |
| radio   | the driver's chip: its mode, with what matters for its current (see the chip's `draws`) |
| sensor  | measuring; in between it is off or asleep, which is not counted |
| vext    | on |
| divider | on: the battery's, by its enable pin |

Counted are transmissions by spreading factor ("tx 7"), those of JoinRequests also as "join 7", and the boot with its
cause. What a state costs is not known here: tools/spatz/sim/energy.toml has the currents. The time in deep sleep, and
whatever the chips do meanwhile, belongs to the boot after it.

MicroPython's time.sleep_ms gives the processor away in ticks of the operating system, and counts the last one out by
itself (ports/esp32/mphalport.c, with FreeRTOS at its usual 100 Hz). So short waits are busy ones.
"""

TICK_US = 10000


class EnergyLedger:
    def __init__(self, clock, cause, boot_us, kept=None):
        """kept: what `keep` of the boot before gave, None after power-on; boot_us: what of the time is the boot."""
        self.clock = clock
        self._us = {}
        self.counts = {"boot " + cause: 1}
        self._states = {}  # part: [state or None, since when]
        self._mhz = 240
        began = clock.now - boot_us
        if kept is not None:
            for part, state in kept["states"].items():
                self._states[part] = [state, kept["at"]]
            if kept["at"] < began:
                self._states["cpu"] = ["deep", kept["at"]]
        self._move("cpu", "boot", began)
        self._move("cpu", self.busy, clock.now)

    @property
    def busy(self):
        return f"busy/{self._mhz}"

    @property
    def us(self):
        """µs by "part state", up to now."""
        for part in self._states:
            self._move(part, self._states[part][0], self.clock.now)
        return self._us

    def enter(self, part, state):
        """`part` is in `state` from now on; None: it draws nothing."""
        self._move(part, state, self.clock.now)

    def add(self, part, state, us):
        """`part` is in `state` for `us`, whatever comes."""
        key = part + " " + state
        self._us[key] = self._us.get(key, 0) + us

    def instead(self, part, state, real, us):
        """For the first `us` of a state that begins, `part` is really in another one."""
        if state != real:
            self.add(part, state, -us)
            self.add(part, real, us)

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def run(self):
        """The processor works again, after it slept."""
        self.enter("cpu", self.busy)

    def frequency(self, hz):
        self._mhz = hz // 1000000
        self.run()

    def slept(self, us):
        """A time.sleep of `us` is over: its time was booked as busy, and most of it was not."""
        idle = us - TICK_US
        if idle > 0:
            self.run()
            self.add("cpu", self.busy, -idle)
            self.add("cpu", f"idle/{self._mhz}", idle)

    def transmits(self, frame):
        """A transmission begins."""
        self.count("tx {}".format(frame["sf"]))
        if frame["data"][0] >> 5 == 0:
            self.count("join {}".format(frame["sf"]))

    def mark(self):
        return {"us": dict(self.us), "counts": dict(self.counts)}

    def since(self, mark):
        """What came on top of `mark`, in the same form; what did not change is left out."""
        now = self.mark()
        for what in now:
            old = mark[what]
            now[what] = {key: value - old.get(key, 0) for key, value in now[what].items() if value != old.get(key, 0)}
        return now

    def keep(self):
        """What the next boot has to know, ready for JSON."""
        return {"at": self.clock.now, "states": {part: entry[0] for part, entry in self._states.items() if entry[0]}}

    def _move(self, part, state, now):
        entry = self._states.get(part)
        if entry is not None and entry[0] is not None and now > entry[1]:
            self.add(part, entry[0], now - entry[1])
        self._states[part] = [state, now]
