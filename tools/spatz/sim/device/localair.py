"""The air of one node alone: scripted downlinks in, a log of transmissions out.

    air.downlinks.append((start_us, freq, sf, bw, iq_inverted, rssi, snr, data))     # or air.add(...)
    air.on_transmit = lambda frame: ...    # called when a transmission starts; may add downlinks after its end
    air.log                                # list of frames (sx1262_radio), each with "flaws"

Two downlinks at one time: the chip stays with the one whose preamble it found first. Whether frames destroy each
other is for an air with physics to decide; `add(..., damaged=True)` gives a frame with wrong bits.
"""

import lora_phy


def scripted(
    start_us, freq, sf, bw, data, iq=True, rssi=-90, snr=7.0, crc=False, sync=0x3444, cr=5, preamble=8, damaged=False
):
    """A received frame as the chip wants it."""
    return {
        "at": start_us,
        "airtime": lora_phy.airtime_us(sf, bw, len(data), cr, crc, preamble=preamble),
        "freq": freq,
        "sf": sf,
        "bw": bw,
        "cr": cr,
        "iq": 1 if iq else 0,
        "crc": 1 if crc else 0,
        "sync": sync,
        "preamble": preamble,
        "rssi": rssi,
        "snr": snr,
        "data": bytes(data),
        "damaged": damaged,
    }


class LocalAir:
    def __init__(self, board):
        self.board = board
        self.downlinks = []
        self.log = []
        self.states = []
        self.on_transmit = None

    def add(
        self, start_us, freq, sf, bw, data, iq=True, rssi=-90, snr=7.0, crc=False, sync=0x3444, cr=5, preamble=8,
        damaged=False,
    ):  # fmt: skip
        """Put one frame on the air at start_us (true µs); returns it as a dict."""
        frame = scripted(start_us, freq, sf, bw, data, iq, rssi, snr, crc, sync, cr, preamble, damaged)
        self.downlinks.append(frame)
        if self.board.radio is not None:
            self.board.radio.announce(frame)
        return frame

    def frames(self):
        """Frames that are on the air now or later."""
        now = self.board.clock.now
        for index, entry in enumerate(self.downlinks):
            if isinstance(entry, tuple):
                start, freq, sf, bw, iq, rssi, snr, data = entry
                self.downlinks[index] = scripted(start, freq, sf, bw, data, iq, rssi, snr)
        return [frame for frame in self.downlinks if frame["at"] + frame["airtime"] > now]

    def transmit(self, frame, flaws):
        frame["flaws"] = flaws
        self.log.append(frame)
        if self.on_transmit is not None:
            self.on_transmit(frame)

    def state(self, message):
        self.states.append(message)

    def close(self):
        pass
