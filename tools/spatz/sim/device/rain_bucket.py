"""A tipping bucket: a reed contact to ground, a resistor to 3.3 V; it closes for 0.1 s with each tip of the weather.

It bounces as contacts do, when it closes and when it opens. spec: {"chip": "rain", "pulse": GPIO}; for tests "jammed":
[from, to] in true µs, during which it stays closed, and "chatter": [from, to, period], during which it opens and closes
all the time.
"""

TIP_US = 100000
# µs after the tip -> level: it bounces twice as it closes, three times as it opens
EDGES = ((0, 0), (300, 1), (700, 0), (1100, 1), (1500, 0), (TIP_US, 1), (TIP_US + 200, 0), (TIP_US + 500, 1),
         (TIP_US + 4000, 0), (TIP_US + 4100, 1))  # fmt: skip
LAST_US = EDGES[-1][0]
AHEAD_US = 3600000000  # how far it looks for the next tip


class RainBucket:
    name = "rain gauge"

    def __init__(self, board, spec):
        self.board = board
        self._jammed = spec.get("jammed")
        self._chatter = spec.get("chatter")
        self._pad = board.pad(spec["pulse"])
        self._pad.driver = self.level
        self._pad.driver_name = self.name
        self._pad._last = self.level()
        self._planned = []
        self._plan()

    def tips(self, start_us, end_us):
        """Moments (true µs) of the tips in [start_us, end_us)."""
        base = self.board.unix_base()
        tips = self.board.weather().tips(base + start_us / 1000000, base + end_us / 1000000)
        return [round((moment - base) * 1000000) for moment in tips]

    def edges(self, start_us, end_us):
        """[(true µs, level)] in [start_us, end_us), in order."""
        if self._jammed and self._jammed[0] <= end_us and start_us <= self._jammed[1]:
            # whatever the bucket does, the contact stays closed
            before = self.edges_of_tips(start_us, min(end_us, self._jammed[0]))
            after = self.edges_of_tips(max(start_us, self._jammed[1] + 1), end_us)
            own = [edge for edge in ((self._jammed[0], 0), (self._jammed[1], 1)) if start_us <= edge[0] < end_us]
            return sorted(before + own + after)
        if self._chatter and self._chatter[0] <= end_us and start_us <= self._chatter[1]:
            first, last, period = self._chatter
            count = max(0, (start_us - first) // period)
            result = []
            while first + count * period < min(last, end_us):
                moment = first + count * period
                result += [edge for edge in ((moment, 0), (moment + period // 2, 1)) if start_us <= edge[0] < end_us]
                count += 1
            return result
        return self.edges_of_tips(start_us, end_us)

    def edges_of_tips(self, start_us, end_us):
        return [
            (tip + after, level)
            for tip in self.tips(start_us - LAST_US, end_us)
            for after, level in EDGES
            if start_us <= tip + after < end_us
        ]

    def level(self):
        """0 while the contact is closed."""
        now = self.board.clock.now
        if self._jammed and self._jammed[0] <= now < self._jammed[1]:
            return 0
        if self._chatter and self._chatter[0] <= now < self._chatter[1]:
            return 1 if (now - self._chatter[0]) % self._chatter[2] >= self._chatter[2] // 2 else 0
        level = 1
        for tip in self.tips(now - LAST_US, now + 1):
            for after, there in EDGES:
                if tip + after <= now:
                    level = there
        return level

    def next_level(self, level, end_us):
        """When (true µs) the line is at this level, from now on and before end_us; None: not at all."""
        now = self.board.clock.now
        if self.level() == level:
            return now
        while now < end_us:
            until = min(end_us, now + AHEAD_US)
            for moment, there in self.edges(now, until):
                if there == level:
                    return moment
            now = until
        return None

    def _plan(self):
        """Tell the pad of the edges to come, a tip at a time."""
        clock = self.board.clock
        start = clock.now + 1
        edges = self.edges(start, start + AHEAD_US)
        if not edges:
            clock.at(start + AHEAD_US, self._plan)
            return
        edges = [edge for edge in edges if edge[0] - edges[0][0] <= LAST_US + 1][: len(EDGES)]
        for moment, _ in edges[:-1]:
            clock.at(moment, self._pad.changed)
        clock.at(edges[-1][0], self._last_edge)

    def _last_edge(self):
        self._pad.changed()
        self._plan()
