"""When to open a receive window, and for how long: from the configured worst case, and from the downlinks heard.

Two things make a downlink come at another moment than the node's clock says: the clock runs fast or slow, which grows
with the wait and stays much the same from day to day (`drift`), and jitter of the node and of the network, which is
different every time. Each downlink that was measured tells something of both. They are separated as a Kalman filter
does it, in one dimension: the drift is known with a standard deviation that shrinks with every downlink and grows with
every window since; what it does not explain is jitter. What is configured holds until evidence replaces it.
"""

import struct

from micropython import const

from lorawan.airtime import CLOCK_ERROR_PPM, JITTER_US, rx_window

_PERCENTILE_99 = 2.576  # of a normal distribution, in standard deviations, to both sides
_SURE = 3.7  # standard deviations that a window covers to either side: 99.98 % of a normal distribution, were it known
_TAIL = 4.5  # configured standard deviations that a window covers at most, unless most downlinks ask for more
_MARGIN = 1.2  # beyond the largest offset seen, so that a still larger one is seen too
_AGE = 1 / 8192  # part of the configured drift's variance that every window adds: all of it after some days
_FIRST = const(8)  # downlinks that the configured jitter counts as
_MEMORY = const(128)  # downlinks that the estimate of the jitter looks back on
_FORGET = const(16)  # after so many downlinks, then, the largest seen becomes one step smaller
_STEPS = const(32)  # of a standard deviation
_LEAST_US = const(500)  # standard deviation of jitter that no evidence goes below: interrupts, timers
_AGE_AFTER = const(64)  # windows between two looks at the age, in one start of the node
_FINE = const(4)  # parts of a ppm in the record
_FORMAT = "<hHHBB"


class Timing:
    """How far off this node's idea of a moment may be.

    ppm: error of the clock that measures the wait, parts per million, at most; jitter_us: how late or early a downlink
    may be beside that, in 99 % of cases; min_symbols: preamble symbols the radio needs to see, per LoRaMac-node.
    """

    def __init__(self, ppm=CLOCK_ERROR_PPM, jitter_us=JITTER_US, min_symbols=6):
        self.ppm = ppm
        self.min_symbols = min_symbols
        self._jitter = jitter_us / _PERCENTILE_99
        self._drift = 0.0  # ppm that the node's clock is fast
        self._unsure = ppm  # its standard deviation
        self._spread = self._jitter  # µs, standard deviation
        self._peak = 0  # the largest jitter seen lately and a margin, in 32nds of the standard deviation
        self._count = _FIRST
        self._windows = 0  # since the last look at the age
        self._bounds = None  # what follows from all this, in integers; None when it is to be worked out again

    def window(self, sf, bw_hz, delay_us):
        """(offset_us, symbols) of a Listen for a downlink `delay_us` after the end of the transmission."""
        self._windows += 1
        if self._windows >= _AGE_AFTER:
            self._age()
        drift, half, own, both = self._bounds or self._work_out()
        ms = delay_us // 1000
        clock = half * ms // 1000
        # A bound may be reached for ever, and jitter adds to it; what is uncertain in both ways seldom adds up.
        error = clock + own if both else int((clock * 1.0 * clock + own * 1.0 * own) ** 0.5)
        offset_us, symbols = rx_window(sf, bw_hz, error + 1, self.min_symbols)
        return offset_us + drift * ms // 1000, symbols

    def _work_out(self):
        """(middle of the drift and half its width in ppm, the jitter in µs, whether the two add up)."""
        bound = max(self.ppm, abs(self._drift))
        low = max(self._drift - _SURE * self._unsure, -bound)
        high = min(self._drift + _SURE * self._unsure, bound)
        own = min(max(_SURE, self._peak / _STEPS) * self._spread, max(_TAIL * self._jitter, 3 * self._spread))
        self._bounds = int((low + high) / 2), int((high - low) / 2 + 1), int(own), high - low >= bound
        return self._bounds

    def _age(self):
        """Every window since the last downlink makes the drift less sure."""
        self._unsure = min((self._unsure**2 + self.ppm**2 * _AGE * self._windows) ** 0.5, self.ppm)
        self._windows = 0
        self._bounds = None

    def heard(self, delay_us, after_us):
        """Learn from a downlink that passed: due after `delay_us`, its preamble began after `after_us` (or None)."""
        if after_us is None:
            return
        self._age()
        seconds = delay_us / 1000000
        off = after_us - delay_us - self._drift * seconds
        of_clock = (self._unsure * seconds) ** 2
        jitter = self._spread**2
        both = of_clock + jitter + 1
        part = of_clock / both
        self._drift += part * off / seconds
        self._unsure *= (1 - part) ** 0.5
        self._count += 1
        if self._count >= _MEMORY:
            self._count -= _FORGET
            self._peak -= self._peak > 0
        self._peak = min(max(self._peak, int(_STEPS * _MARGIN * abs(off) / both**0.5) + 1), 255)
        # A downlink whose offset says most about the clock says little about jitter.
        jitter *= 1 + (off * off / both - 1) * (1 - part) / self._count
        self._spread = min(max(jitter**0.5, _LEAST_US), 65535)

    def missed(self):
        """A downlink that was expected did not come: perhaps because the window was not where it should be."""
        self._unsure = min(self._unsure * 1.5, self.ppm)
        self._spread = max(self._spread, min(self._spread * 1.25, self._jitter))
        self._count = max(self._count // 2, _FIRST)
        self._bounds = None

    def pack(self):
        """What was learnt, for `restore`: 8 bytes."""
        if self._windows:
            self._age()
        return struct.pack(
            _FORMAT,
            int(min(max(self._drift, -32768), 32767)),
            min(int(self._unsure * _FINE + 0.99), 65535),  # upwards, because it grows by little at a time
            min(int(self._spread), 65535),
            self._peak,
            self._count,
        )

    def restore(self, data):
        """Take up what `pack` gave; anything of another length, and what it cannot have given, is passed over."""
        if len(data) != struct.calcsize(_FORMAT):
            return
        drift, unsure, spread, peak, count = struct.unpack(_FORMAT, data)
        unsure /= _FINE
        if unsure <= self.ppm and spread >= _LEAST_US and _FIRST <= count <= _MEMORY:
            self._drift, self._unsure, self._spread, self._peak, self._count = drift, unsure, spread, peak, count
            self._bounds = None
