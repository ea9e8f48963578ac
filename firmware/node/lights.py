"""What the light says, to a child without a computer. README, "What the light says", has the same list in words.

Only while the safe window is open, and only while the node waits: the light costs current, and nothing may come between
a radio and its windows.
"""

from micropython import const

# on, off, on, off ... in units of 10 ms, again and again; the last pause is the longest, so that one can count
_UNIT_MS = const(10)
LOOKING = b"\x64\x64"  # slow, even: it has not heard a gateway yet
HEARD = b"\x08\x19\x08\xc8"  # two short
SILENT = b"\x96\xc8"  # one long: it asked, and no gateway answered
NO_SENSOR = b"\x08\x19\x08\x19\x08\xc8"  # three short
BROKEN = b"\x08\x08"  # flickers: the program stumbled, its message is at the cable
SET_UP = b"\x03\x64"  # one very short, each second: not set up


def patterns(cycle, stumbled):
    """What to show, one after the other. cycle: of node.cycle; stumbled: whether it raised an error just now."""
    if stumbled:
        return (BROKEN,)
    radio = LOOKING
    if cycle.device.joined and cycle.heard is not None:
        radio = HEARD if cycle.heard else SILENT
    return (radio, NO_SENSOR) if cycle.sensor_missing else (radio,)


class Lights:
    """Plays patterns while a node waits. light(on): switches it; time: the module; shown: `patterns`."""

    def __init__(self, light, time, shown):
        self._light = light
        self._time = time
        self._shown = shown
        self._which = 0  # of the patterns
        self._step = -1  # in the pattern
        self._left_ms = 0  # of the step

    def wait(self, ms):
        """Sleep for `ms`; the light goes on where it was."""
        while ms > 0:
            if not self._left_ms:
                self._next()
            part_ms = min(ms, self._left_ms)
            self._time.sleep_ms(part_ms)
            self._left_ms -= part_ms
            ms -= part_ms

    def _next(self):
        self._step += 1
        pattern = self._shown[self._which]
        if self._step == len(pattern):
            self._step = 0
            self._which = (self._which + 1) % len(self._shown)
            pattern = self._shown[self._which]
        self._left_ms = pattern[self._step] * _UNIT_MS
        self._light(not self._step & 1)
