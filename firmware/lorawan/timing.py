"""When to open a receive window, and for how long."""

from lorawan.airtime import CLOCK_ERROR_PPM, JITTER_US, rx_window


class Timing:
    """How far off this node's idea of a moment may be.

    ppm: error of the clock that measures the wait, parts per million; jitter_us: how late or early the node itself is
    (scheduler, wake-up); min_symbols: preamble symbols the radio needs to see, per LoRaMac-node.
    """

    def __init__(self, ppm=CLOCK_ERROR_PPM, jitter_us=JITTER_US, min_symbols=6):
        self.ppm = ppm
        self.jitter_us = jitter_us
        self.min_symbols = min_symbols

    def window(self, sf, bw_hz, delay_us):
        """(offset_us, symbols) of a Listen for a downlink `delay_us` after the end of the transmission."""
        error_us = self.jitter_us + (delay_us // 1000 * self.ppm + 999) // 1000
        return rx_window(sf, bw_hz, error_us, self.min_symbols)

    def heard(self, delay_us, after_us):
        """Learn from a downlink that passed: due after `delay_us`, its preamble began after `after_us` (or None)."""

    def missed(self):
        """Learn that a downlink that was expected did not come."""

    def pack(self):
        """What was learnt, for `restore`; at most 8 bytes."""
        return b""

    def restore(self, data):
        """Take up what `pack` gave; anything else is passed over."""
