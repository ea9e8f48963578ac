"""What an exchange asks of whoever carries it out (a radio, a simulator, a test with a list), and what it is told.

An exchange is a generator: it yields `Transmit`, `Listen` and `Wait`. After a `Transmit` it is sent the ticks_us of
the end of the transmission, after a `Listen` a `Heard`, or None when nothing was received, after a `Wait` None. The
return value of the generator is the result of the exchange.
"""


class Transmit:
    """Send `frame` now: LoRa, sync word 0x34, preamble 8, CR 4/5, explicit header, CRC on, IQ normal.

    freq_hz, sf 7..12, bw_hz; eirp_dbm is radiated power (the radio subtracts its antenna); airtime_us is how long it
    takes.
    """

    __slots__ = ("airtime_us", "bw_hz", "eirp_dbm", "frame", "freq_hz", "sf")

    def __init__(self, frame, freq_hz, sf, bw_hz, eirp_dbm, airtime_us):
        self.frame = frame
        self.freq_hz = freq_hz
        self.sf = sf
        self.bw_hz = bw_hz
        self.eirp_dbm = eirp_dbm
        self.airtime_us = airtime_us


class Listen:
    """Be listening `delay_us` after the end of the last transmission, and give up after `symbols` without a preamble.

    window is 1 or 2. delay_us is already widened for clock error. Downlinks come with inverted IQ and without CRC.
    """

    __slots__ = ("bw_hz", "delay_us", "freq_hz", "sf", "symbols", "window")

    def __init__(self, window, delay_us, freq_hz, sf, bw_hz, symbols):
        self.window = window
        self.delay_us = delay_us
        self.freq_hz = freq_hz
        self.sf = sf
        self.bw_hz = bw_hz
        self.symbols = symbols


class Wait:
    """Let `us` pass, at most some minutes; the radio and the processor may sleep meanwhile."""

    __slots__ = ("us",)

    def __init__(self, us):
        self.us = us


class Heard:
    """A received frame: bytes as they came off the air, RSSI in dBm (int), SNR in dB (float).

    after_us: from the end of the last transmission to the beginning of this frame's preamble, by the node's clock; None
    when it was not measured.
    """

    __slots__ = ("after_us", "frame", "rssi", "snr")

    def __init__(self, frame, rssi, snr, after_us=None):
        self.frame = frame
        self.rssi = rssi
        self.snr = snr
        self.after_us = after_us
