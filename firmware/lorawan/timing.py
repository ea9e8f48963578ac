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

    def window(self, sf, bw_hz, delay_us):
        """(offset_us, symbols) of a Listen for a downlink `delay_us` after the end of the transmission."""
        seconds = delay_us / 1000000
        self._unsure = min((self._unsure**2 + self.ppm**2 * _AGE) ** 0.5, self.ppm)
        bound = max(self.ppm, abs(self._drift))
        low = max(self._drift - _SURE * self._unsure, -bound)
        high = min(self._drift + _SURE * self._unsure, bound)
        clock = (high - low) / 2 * seconds
        own = min(max(_SURE, self._peak / _STEPS) * self._spread, max(_TAIL * self._jitter, 3 * self._spread))
        # A bound may be reached for ever, and jitter adds to it; what is uncertain in both ways seldom adds up.
        error = clock + own if high - low >= bound else (clock**2 + own**2) ** 0.5
        offset_us, symbols = rx_window(sf, bw_hz, int(error) + 1, self.min_symbols)
        return offset_us + int((low + high) / 2 * seconds), symbols

    def heard(self, delay_us, after_us):
        """Learn from a downlink that passed: due after `delay_us`, its preamble began after `after_us` (or None)."""
        if after_us is None:
            return
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

    def pack(self):
        """What was learnt, for `restore`: 8 bytes."""
        return struct.pack(
            _FORMAT,
            int(min(max(self._drift, -32768), 32767)),
            int(self._unsure),
            int(self._spread),
            self._peak,
            self._count,
        )

    def restore(self, data):
        """Take up what `pack` gave; anything of another length, and what it cannot have given, is passed over."""
        if len(data) != struct.calcsize(_FORMAT):
            return
        drift, unsure, spread, peak, count = struct.unpack(_FORMAT, data)
        if unsure <= self.ppm and spread >= _LEAST_US and _FIRST <= count <= _MEMORY:
            self._drift, self._unsure, self._spread, self._peak, self._count = drift, unsure, spread, peak, count
