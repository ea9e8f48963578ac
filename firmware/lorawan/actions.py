"""What an exchange asks of whoever carries it out (a radio, a simulator, a test with a list), and what it is told.

An exchange is a generator: it yields `Transmit`, `Listen` and `Wait`. After a `Transmit` it is sent the ticks_us of
the end of the transmission, after a `Listen` a `Heard`, or None when nothing was received, after a `Wait` None. The
return value of the generator is the result of the exchange.
"""

from collections import namedtuple

# Send `frame` now: LoRa, sync word 0x34, preamble 8, CR 4/5, explicit header, CRC on, IQ normal. freq_hz, sf 7..12,
# bw_hz; eirp_dbm is radiated power (the radio subtracts its antenna); airtime_us is how long it takes.
Transmit = namedtuple("Transmit", ("frame", "freq_hz", "sf", "bw_hz", "eirp_dbm", "airtime_us"))

# Be listening `delay_us` after the end of the last transmission, and give up after `symbols` without a preamble.
# window is 1 or 2. delay_us is already widened for clock error. Downlinks come with inverted IQ and without CRC.
Listen = namedtuple("Listen", ("window", "delay_us", "freq_hz", "sf", "bw_hz", "symbols"))

# Let `us` pass, at most some minutes; the radio and the processor may sleep meanwhile.
Wait = namedtuple("Wait", ("us",))


class Heard:
    """A received frame: bytes as they came off the air, RSSI in dBm (int), SNR in dB (float).

    after_us: from the end of the last transmission to the beginning of this frame's preamble, by the node's clock, less
    what the window opened late: where in the window the frame lay. None when it was not measured.
    """

    __slots__ = ("after_us", "frame", "rssi", "snr")

    def __init__(self, frame, rssi, snr, after_us=None):
        self.frame = frame
        self.rssi = rssi
        self.snr = snr
        self.after_us = after_us
