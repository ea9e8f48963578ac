"""Whether a gateway has held a frame back, by what its own clock says; and that clock may be wrong. Pure.

A gateway that was cut off from the nest sends later what it heard meanwhile, with the time it heard it. Such a frame
belongs to that time and is not answered any more. A gateway whose clock is an hour slow looks the same in every single
frame, and if it were believed, no node would ever join through it. What tells them apart: the delay, arrival minus told
time, of a slow clock stays the same while time passes; that of a backlog shrinks, for it is sent faster than it was
heard. So, with `error` the seconds by which the clock is thought to be slow, 0 at first:

1. A delay of -5 to 2 s: the clock is right and the frame live; `error` is 0.
2. A delay at most 2 s above `error`: live. If it is below `error`, it is the new `error` at once: no frame arrives
   before it was heard, so the smallest delay says most. (A clock that is fast is known by its first frame.)
3. Everything else was held back by delay - `error`, up to 31 days, unless
   - three delays over at least 20 s are alike: the smallest of them is the new `error`. The time in the statistics
     counts for this, too, as long as no frame has shown the clock to be right: a clock that is wrong from the start is
     known after a minute, without a node having to send for it;
   - three frames over at least 20 s have the same arrival - `tmst`, the concentrator's counter, whatever the clock
     says: they come as they are heard, and the clock stands still or jumps. Frames on that line are live.
4. More than 31 days: the clock has never been set; live.

What cannot be told: a backlog in the first seconds of a clock that is wrong (it is taken as told), one that is sent no
faster than it was heard (taken as live), and times told before a wrong clock was set right. The worst that a lie does
is a frame filed under a wrong time of the last 31 days, or one that this gateway does not answer.
"""

from __future__ import annotations

LIVE_S = 2.0  # later than this, RX1 and RX2 of a frame are over or hardly to be met
FAST_S = 5.0  # a clock may be ahead by this and be called right
OLDEST_S = 31 * 86_400.0
STEADY_S = 20.0
STEADY_COUNT = 3
COUNTER_WRAP_S = 2**32 / 1e6  # the concentrator counts microseconds in 32 bits


class GatewayClock:
    """The clock of one gateway. `error`: seconds by which it is thought to be slow."""

    __slots__ = ("_delays", "_line", "_lines", "_right", "error")

    def __init__(self) -> None:
        self.error = 0.0
        self._right = False  # a frame has shown the clock to be right
        self._line: float | None = None  # arrival - counter of live frames, while the clock is of no use
        self._delays, self._lines = _Steady(), _Steady(COUNTER_WRAP_S)

    def held_back(self, told: float, tmst: int | None, arrival: float) -> float:
        """For how many seconds the gateway has held back a frame; 0.0: it is live.

        `told`: when it says that it heard the frame, `arrival`: when it came (both Unix s); `tmst`: its counter.
        """
        delay = arrival - told
        if -FAST_S <= delay <= LIVE_S:
            self.error, self._right, self._line = 0.0, True, None
            return 0.0
        held = delay - self.error
        if held <= LIVE_S:
            settled = self._delays.add(delay, arrival)
            if held < 0:
                self.error = delay
            elif settled is not None:
                self.error = settled
            return 0.0
        settled = self._delays.add(delay, arrival)
        if settled is not None:
            self.error = settled
            return 0.0
        if tmst is not None and self._on_line(arrival - tmst / 1e6, arrival):
            return 0.0
        return held if held < OLDEST_S else 0.0

    def _on_line(self, line: float, arrival: float) -> bool:
        """True: by the counter this frame came as fast as others that came as they were heard."""
        settled = self._lines.add(line, arrival)
        if settled is not None:
            self._line = settled
        return self._line is not None and abs(_distance(line, self._line, COUNTER_WRAP_S)) <= LIVE_S

    def statistics(self, told: float, arrival: float) -> None:
        """The time in the statistics, which come about twice a minute even when no node sends."""
        delay = arrival - told
        if self._right or -FAST_S <= delay <= LIVE_S:
            return
        settled = self._delays.add(delay, arrival)
        if settled is not None:
            self.error = settled


class _Steady:
    """Notices values that stay alike. `wrap`: they are equal modulo this; 0: they are not."""

    __slots__ = ("_count", "_low", "_since", "_span", "_wrap")

    def __init__(self, wrap: float = 0.0) -> None:
        self._wrap = wrap
        self._count = 0
        self._low = self._span = self._since = 0.0

    def add(self, value: float, at: float) -> float | None:
        """The lowest of the values, once enough of them were alike over enough time; then it begins anew."""
        difference = _distance(value, self._low, self._wrap)
        span = max(self._span, difference, self._span - difference)  # from the lowest to the highest, this one included
        if self._count and span <= LIVE_S:
            self._count += 1
            self._span = span
            if difference < 0:
                self._low = value
            if self._count < STEADY_COUNT or at - self._since < STEADY_S:
                return None
            settled = self._low
        else:
            settled = None
        self._low, self._span, self._since, self._count = value, 0.0, at, 1
        return settled


def _distance(a: float, b: float, wrap: float) -> float:
    return a - b - round((a - b) / wrap) * wrap if wrap else a - b
